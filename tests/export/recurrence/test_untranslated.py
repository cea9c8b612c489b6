"""Operators that have no form in ONNX are named with their line, and with what to write instead."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rnnserve.export import export_onnx
from rnnserve.export.errors import UnsupportedModule


class _After(nn.Module):
    def __init__(self, compute):
        super().__init__()
        self.layer = nn.GRU(3, 3, batch_first=True)
        self.compute = compute

    def forward(self, x):
        return self.compute(self.layer(x)[0])


@pytest.mark.parametrize(
    ("compute", "name", "advice"),
    [
        (lambda y: torch.hypot(y, y), "hypot", "torch.sqrt(x * x + y * y)"),
        (lambda y: torch.searchsorted(torch.arange(3.0), y), "searchsorted", "(x[..., None] > boundaries).sum(-1)"),
        (
            lambda y: F.scaled_dot_product_attention(*[y[None, None]] * 3),
            "scaled_dot_product_attention",
            "x.flatten(0, 1)",
        ),
        (lambda y: torch.special.i0(y), "i0", "docs/reference/operators.md"),
        (lambda y: torch.linalg.svd(y.mT @ y)[1], "svd", "compute it once, in a buffer"),
        (lambda y: torch.linalg.eigh(y.mT @ y)[0], "eigh", "compute it once, in a buffer"),
        (lambda y: y @ torch.matrix_exp(y.mT @ y), "matrix_exp", "compute it once, in a buffer"),
    ],
    ids=["hypot", "searchsorted", "attention", "without advice of its own", "svd", "eigh", "matrix_exp"],
)
def test_the_operator_its_line_and_the_way_out_are_named(compute, name, advice):
    names: Any = {"input_names": ["x"], "output_names": ["y"], "dynamic_shapes": ({0: "batch", 1: "sequence"},)}
    with pytest.raises(UnsupportedModule) as raised:
        export_onnx(_After(compute).eval(), (torch.zeros(2, 5, 3),), **names)
    said = str(raised.value)
    assert said.startswith(f"{name} (at test_untranslated.py:")
    assert advice in said
    assert "OpOverload" not in said
    assert "\n" not in said
