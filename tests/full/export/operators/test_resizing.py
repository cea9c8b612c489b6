"""Interpolation takes eager's steps at every length, and not only at those that divide well."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rnnserve.export import export_onnx
from rnnserve.export.parity import OnnxRunner

_LENGTHS = (*range(10, 40), 81, 143, 391, 639, 3000)
_WAYS = {
    "size=1": {"size": 1},
    "size=10": {"size": 10},
    "size=41": {"size": 41},
    "size=128": {"size": 128},
    **{f"scale_factor={factor:.2g}": {"scale_factor": factor} for factor in (0.1, 0.3, 1 / 3, 0.7, 1.5, 2.7)},
    "scale_factor=0.3, recomputed": {"scale_factor": 0.3, "recompute_scale_factor": True},
    "twice the length and one": {"size": -1},
}
_MODES = {
    "nearest": {"mode": "nearest"},
    "linear": {"mode": "linear"},
    "linear, corners": {"mode": "linear", "align_corners": True},
}


_PROBE = F.interpolate(torch.arange(33.0)[None, None], scale_factor=0.7, mode="linear")[0, 0, 22].item()
_ROUNDS_ONCE = np.float32(_PROBE) == np.float32(np.float64(np.float32(1 / 0.7)) * 22.5 - 0.5)
"""Whether eager computes places by fused operations, as torch 2.13 for CPUs and the export do, or as 2.15 from PyPI."""


class _Interpolation(nn.Module):
    """All ways of one mode, of x (batch, sequence); `plane` as images of two equal rows and channels."""

    def __init__(self, mode, ways, *, plane):
        super().__init__()
        self.mode, self.ways, self.plane = mode, ways, plane

    def forward(self, x):
        return tuple(self._one(x, way).flatten(1) for way in self.ways)

    def _one(self, x, way):
        size = way.get("size")
        if size == -1:
            size = x.shape[1] * 2 + 1
        if not self.plane:
            return F.interpolate(x[:, None], **self.mode | way | ({"size": size} if size else {}))
        mode = self.mode | {"mode": self.mode["mode"].replace("linear", "bilinear")}
        of_two = {"size": (3, size)} if size else {"scale_factor": (2.0, way["scale_factor"])}
        return F.interpolate(x[:, None, None].expand(-1, 2, 2, -1).contiguous(), **mode | way | of_two)


# Of float64 PyTorch itself has two answers in 2d: by memory format its scale is of float64 or of float32.
@pytest.mark.parametrize(
    ("mode", "plane", "dtype"),
    [
        *((mode, False, torch.float32) for mode in _MODES),
        ("linear", True, torch.float64),
    ],
)
def test_every_length_takes_the_steps_of_eager(mode, plane, dtype):
    module = _Interpolation(_MODES[mode], list(_WAYS.values()), plane=plane)
    program = export_onnx(
        module,
        (torch.zeros(2, 20, dtype=dtype),),
        input_names=["x"],
        output_names=[f"y{at}" for at in range(len(_WAYS))],
        dynamic_shapes=({0: "batch", 1: "sequence"},),
        sizes={"sequence": (10, None)},
    )
    runner = OnnxRunner(program.model_proto.SerializeToString())
    for length in _LENGTHS:
        # The value of a step is its place, turned so that the last step is no neighbour of the first.
        x = torch.arange(length, dtype=dtype).sin()[None] * 10
        found = runner({"x": x.numpy()}).values()
        for way, eager, served in zip(_WAYS, module(x), found, strict=True):
            expected = eager.numpy()
            assert served.shape == expected.shape, f"{length} steps, {way}"
            if "nearest" in mode:
                np.testing.assert_array_equal(served, expected, f"{length} steps, {way}")
            else:
                is_exact = _ROUNDS_ONCE or dtype == torch.float64
                atol = 1e-5 if is_exact else 10 * float(np.spacing(np.float32(length)))  # slope times rounding
                np.testing.assert_allclose(served, expected, rtol=1e-6, atol=atol, err_msg=f"{length} steps, {way}")
