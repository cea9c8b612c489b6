"""Operators that take another path at other sizes are refused by name, though the module's results do not show it."""

from typing import Any

import pytest
import torch
from torch import nn

from rnnserve.export import export_onnx
from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.parity import OnnxRunner

_SPECIAL = {
    "tensor_split(2)": (lambda h: torch.cat([part.amax(1) for part in h.tensor_split(2, dim=1)], 1), "tensor_split"),
    "tensor_split(3)": (
        lambda h: torch.stack([part.sum(1) for part in h.tensor_split(3, dim=1)]).sum(0),
        "tensor_split",
    ),
    "squeeze()": (lambda h: h.squeeze().sum().reshape(1, 1).expand(h.size(0), 2), "squeeze"),
    "squeeze(1)": (lambda h: h.squeeze(1).sum().reshape(1, 1).expand(h.size(0), 2), "squeeze"),
}
_USUAL = {
    "squeeze of one": lambda h: h.mean(1, keepdim=True).squeeze(1),
    "halves": lambda h: torch.cat([h[:, : h.size(1) // 2].sum(1), h[:, h.size(1) // 2 :].sum(1)], 1),
    "chunks of features": lambda h: torch.cat([part.amax(1) for part in h.chunk(2, 2)], 1),
    "flattened": lambda h: h.reshape(h.size(0), -1).sum(1, keepdim=True),
    "places": lambda h: (h * torch.arange(h.size(1))[None, :, None]).sum(1),
    "shifted": lambda h: (h[:, 1:] - h[:, :-1]).sum(1),
}


class _After(nn.Module):
    def __init__(self, after):
        super().__init__()
        self.layer, self.after = nn.GRU(3, 4, batch_first=True), after

    def forward(self, x):
        return self.after(self.layer(x)[0])


def _export(module, steps):
    names: Any = {"input_names": ["x"], "output_names": ["y"], "dynamic_shapes": ({0: "batch", 1: "sequence"},)}
    return export_onnx(module, (torch.zeros(2, steps, 3),), **names)


@pytest.mark.parametrize("steps", [1, 5, 6])
@pytest.mark.parametrize(("after", "operator"), _SPECIAL.values(), ids=_SPECIAL)
def test_it_is_refused_by_name(after, operator, steps):
    with pytest.raises(UnsupportedModule, match=rf"aten\.{operator}.* \(at test_shape_probing\.py:\d+\)"):
        _export(_After(after).eval(), steps)


@pytest.mark.parametrize("after", _USUAL.values(), ids=_USUAL)
def test_what_is_the_same_at_every_size_is_exported(after):
    torch.manual_seed(0)
    module = _After(after).eval()
    runner = OnnxRunner(_export(module, 6).model_proto.SerializeToString())
    for steps in (1, 2, 7, 12):
        x = torch.randn(3, steps, 3)
        (found,) = runner({"x": x.numpy()}).values()
        torch.testing.assert_close(torch.from_numpy(found), module(x).detach(), rtol=1e-5, atol=1e-5)
