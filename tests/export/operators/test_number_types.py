"""Numbers of both types beside floats: whole ones and others."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rnnserve.export import export_onnx
from rnnserve.export.parity import OnnxRunner

_USES = {
    "clamp(1e-6, 1)": lambda x: x.clamp(1e-6, 1),
    "clamp(0, 1.5)": lambda x: x.clamp(0, 1.5),
    "clamp(-1, 1)": lambda x: x.clamp(-1, 1),
    "clamp(min=0)": lambda x: x.clamp(min=0),
    "clamp(max=1)": lambda x: x.clamp(max=1),
    "clip(0, 0.5)": lambda x: x.clip(0, 0.5),
    "clamp_min(0)": lambda x: x.clamp_min(0),
    "clamp_max(1)": lambda x: x.clamp_max(1),
    "clamp_(0, 0.5)": lambda x: x.clone().clamp_(0, 0.5),
    "hardtanh(-1, 0.5)": lambda x: F.hardtanh(x, -1, 0.5),
    "threshold(0, 0.5)": lambda x: F.threshold(x, 0, 0.5),
    "where(x, 1)": lambda x: torch.where(x > 0, x, 1),
    "where(1, x)": lambda x: torch.where(x > 0, 1, x),
    "where(0, 0.5)": lambda x: torch.where(x > 0, 0, 0.5).to(x.dtype),
    "masked_fill(1)": lambda x: x.masked_fill(x > 0, 1),
    "leaky_relu(1)": lambda x: F.leaky_relu(x, 1),
    "elu(1)": lambda x: F.elu(x, 1),
    "lerp(1)": lambda x: x.lerp(x * x, 1),
    "add(alpha=2)": lambda x: torch.add(x, 1, alpha=2),
    "rpow of whole exponents": lambda x: x + 0.5 ** torch.arange(4),
    "rsub": lambda x: 1 - x,
}


class _Use(nn.Module):
    def __init__(self, use):
        super().__init__()
        self.use = use

    def forward(self, x):
        return self.use(x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("use", _USES.values(), ids=_USES)
def test_both_types_are_numbers(use, dtype):
    x = torch.tensor([[-2.0, -0.3, 0.0, 0.2], [0.7, 1.2, 3.0, 1e-9]], dtype=dtype)
    module = _Use(use)
    names: Any = {"input_names": ["x"], "output_names": ["y"], "dynamic_shapes": ({0: "batch"},)}
    runner = OnnxRunner(export_onnx(module, (x,), **names).model_proto.SerializeToString())
    (found,) = runner({"x": x.numpy()}).values()
    torch.testing.assert_close(torch.from_numpy(found), module(x))
