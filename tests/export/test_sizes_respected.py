"""Sizes that `sizes=` doesn't name don't cause a refusal. Sizes that it names do."""

from typing import Any

import pytest
import torch
from torch import nn

from rnnserve.export import Floats, export_onnx, publish
from rnnserve.export.errors import UnsupportedModule, WrongArguments


@pytest.mark.parametrize("sizes", [{}, {"sequence": (1, 64)}, {"sequence": (4, None)}], ids=str)
def test_condition_on_a_named_size_is_refused(sizes):
    class Branching(nn.Module):
        def forward(self, x):
            return x * 2 if x.shape[1] < 5 else x

    names: dict[str, Any] = {
        "input_names": ["x"],
        "output_names": ["y"],
        "dynamic_shapes": ({0: "batch", 1: "sequence"},),
    }
    with pytest.raises(UnsupportedModule, match="condition on sizes"):
        export_onnx(Branching().eval(), (torch.zeros(2, 7, 3),), **names, sizes=sizes)
    export_onnx(Branching().eval(), (torch.zeros(2, 7, 3),), **names, sizes={"sequence": (5, None)})


@pytest.mark.parametrize("rows", [1, 2])
def test_single_batch_size_is_refused_with_a_remedy(rows, tmp_path):
    module = nn.LSTM(3, 4, batch_first=True).eval()
    inputs = {"input": Floats("batch", "sequence", ("features", 3))}
    with pytest.raises(WrongArguments) as raised:
        publish(
            module, "m", repository=tmp_path, inputs=inputs, outputs=["y", "h_n", "c_n"], sizes={"batch": (rows, rows)}
        )
    assert f'sizes["batch"] is ({rows}, {rows}), a single size' in str(raised.value)
    assert f'sizes={{"batch": ({rows}, {rows + 7})}}' in str(raised.value)
    assert "exchanged" not in str(raised.value)
