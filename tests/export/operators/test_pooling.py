"""Pooling over steps is right at every length, and not only at the sample's."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rnnserve.export import export_onnx
from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.parity import OnnxRunner

_LENGTHS = (*range(8, 40), 65, 100, 257, 1000, 3001)
_POOLS = {
    "adaptive_avg_pool1d(1)": lambda z: F.adaptive_avg_pool1d(z, 1),
    "adaptive_avg_pool1d(3)": lambda z: F.adaptive_avg_pool1d(z, 3),
    "adaptive_avg_pool1d(64)": lambda z: F.adaptive_avg_pool1d(z, 64),
    "adaptive_max_pool1d(1)": lambda z: F.adaptive_max_pool1d(z, 1),
    "adaptive_max_pool1d(7)": lambda z: F.adaptive_max_pool1d(z, 7),
    "adaptive_avg_pool2d((3, 5))": lambda z: F.adaptive_avg_pool2d(z[:, None].repeat(1, 1, 2, 1), (3, 5)),
    "adaptive_max_pool2d((2, 5))": lambda z: F.adaptive_max_pool2d(z[:, None], (2, 5)),
    "adaptive_avg_pool2d((None, 2))": lambda z: F.adaptive_avg_pool2d(z.mT[:, None].repeat(1, 1, 1, 5), (None, 2)),
    "interpolate(area)": lambda z: F.interpolate(z, size=10, mode="area"),
    "AdaptiveAvgPool1d": nn.AdaptiveAvgPool1d(5),
    "max_pool1d(2)": lambda z: F.max_pool1d(z, 2),
    "max_pool1d(3, 2, 1)": lambda z: F.max_pool1d(z, 3, 2, 1),
    "max_pool1d(3, 1, dilation=2)": lambda z: F.max_pool1d(z, 3, 1, dilation=2),
    "MaxPool1d(3, 1, 1)": nn.MaxPool1d(3, 1, 1),
    "torch.max_pool1d([4])": lambda z: torch.max_pool1d(z, [4], stride=[3]),
    "max_pool1d(3, ceil_mode=True)": lambda z: F.max_pool1d(z, 3, ceil_mode=True),
    "avg_pool1d(2)": lambda z: F.avg_pool1d(z, 2),
    "avg_pool1d(3, 2, 1)": lambda z: F.avg_pool1d(z, 3, 2, 1),
    "avg_pool1d(3, 2, 1, count_include_pad=False)": lambda z: F.avg_pool1d(z, 3, 2, 1, count_include_pad=False),
    "avg_pool1d(3, ceil_mode=True)": lambda z: F.avg_pool1d(z, 3, ceil_mode=True),
    "lp_pool1d(2, 2)": lambda z: F.lp_pool1d(z.abs(), 2.0, 2),
}


class _Pools(nn.Module):
    """Each pool of x (batch, sequence, 1) over its steps."""

    def __init__(self, *pools):
        super().__init__()
        self.pools = pools

    def forward(self, x):
        return tuple(pool(x.mT).flatten(1) for pool in self.pools)


def _export(module, dtype=torch.float32):
    return export_onnx(
        module,
        (torch.zeros(2, 12, 2, dtype=dtype),),
        input_names=["x"],
        output_names=[f"y{at}" for at in range(len(module.pools))],
        dynamic_shapes=({0: "batch", 1: "sequence"},),
        sizes={"sequence": (8, None)},
    )


_CASES = [(name, dtype) for name in _POOLS for dtype in (torch.float32, torch.float64)]
_NO_KERNEL = ("avg_pool1d", "lp_pool1d")
"""Begin the names of those for which onnxruntime has no kernel of float64."""


@pytest.mark.parametrize(
    ("name", "dtype"), [case for case in _CASES if case[1] == torch.float32 or not case[0].startswith(_NO_KERNEL)]
)
def test_it_is_right_at_every_length(name, dtype):
    module = _Pools(_POOLS[name])
    runner = OnnxRunner(_export(module, dtype).model_proto.SerializeToString())
    torch.manual_seed(0)
    for length in _LENGTHS:
        x = torch.randn(2, length, 2, dtype=dtype)
        (found,) = runner({"x": x.numpy()}).values()
        torch.testing.assert_close(torch.from_numpy(found), module(x)[0], rtol=1e-5, atol=1e-6, msg=f"{length} steps")


@pytest.mark.parametrize("pool", ["adaptive_max_pool1d(7)", "max_pool1d(2)"])
def test_nan_and_infinities_are_where_eager_has_them(pool):
    module = _Pools(_POOLS[pool])
    runner = OnnxRunner(_export(module).model_proto.SerializeToString())
    x = torch.randn(3, 14, 2)
    x[0, 3], x[1, 5], x[2, 4:8] = float("nan"), float("inf"), -float("inf")
    (found,) = runner({"x": x.numpy()}).values()
    torch.testing.assert_close(torch.from_numpy(found), module(x)[0], equal_nan=True)


@pytest.mark.parametrize("pool", [F.max_pool1d, F.adaptive_max_pool1d])
def test_indices_are_refused_by_name(pool):
    with pytest.raises(UnsupportedModule, match=f"{pool.__name__}|max_pool1d.*return_indices"):
        _export(_Pools(lambda z: pool(z, 2, return_indices=True)[1].float()))


def test_a_missing_kernel_is_said():
    with pytest.raises(UnsupportedModule, match=r"AveragePool of float64.*\.float\(\)"):
        _export(_Pools(_POOLS["avg_pool1d(2)"]), torch.float64)
