"""Where a graph computes with sizes the proof draws lengths that are nothing special, and finds what is wrong there."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rnnserve.export import Floats, export_onnx, publish
from rnnserve.export.errors import ParityError
from rnnserve.export.operators import resizing
from rnnserve.export.parity.size_arithmetic import computes_with_sizes
from rnnserve.export.recurrence import export

_WITH = {
    "interpolate": lambda h: F.interpolate(h.mT, size=10).mT,
    "a middle step": lambda h: h[:, h.size(1) // 2],
    "halves": lambda h: torch.cat([part.amax(1) for part in h.split([h.size(1) // 2, h.size(1) - h.size(1) // 2], 1)]),
    "a mean by hand": lambda h: h.sum(1) / h.size(1),
    "a remainder": lambda h: h * (h.size(1) % 3),
}
_WITHOUT = {
    "a mean": lambda h: h.mean(1),
    "all steps but one": lambda h: h[:, :-1],
    "places": lambda h: h + torch.arange(h.size(1))[None, :, None],
}


class _Layer(nn.Module):
    def __init__(self, after):
        super().__init__()
        self.layer, self.after = nn.GRU(3, 4, batch_first=True), after

    def forward(self, x):
        return self.after(self.layer(x)[0])


def _exported(after):
    module = _Layer(after).eval()
    names: Any = {"input_names": ["x"], "output_names": ["y"], "dynamic_shapes": ({0: "batch", 1: "sequence"},)}
    return export_onnx(module, (torch.zeros(2, 6, 3),), **names, sizes={"sequence": (2, None)})


@pytest.mark.parametrize("after", _WITH.values(), ids=_WITH)
def test_arithmetic_with_sizes_is_found(after):
    assert computes_with_sizes(_exported(after).model_proto.SerializeToString())


@pytest.mark.parametrize("after", _WITHOUT.values(), ids=_WITHOUT)
def test_sizes_alone_are_none(after):
    assert not computes_with_sizes(_exported(after).model_proto.SerializeToString())


def test_a_place_that_is_wrong_at_one_length_in_ten_is_found(monkeypatch, tmp_path):
    stock = {
        operator: made for operator, made in vars(export)["OPERATORS"].items() if operator not in resizing.TRANSLATIONS
    }
    monkeypatch.setattr(export, "OPERATORS", stock)
    torch.manual_seed(0)
    with pytest.raises(ParityError, match="uneven lengths"):
        publish(
            _Layer(lambda h: F.interpolate(h.mT, size=10).mT).eval(),
            "resized",
            repository=tmp_path,
            inputs={"x": Floats("batch", "sequence", ("features", 3))},
            outputs=["y"],
            progress=False,
        )
