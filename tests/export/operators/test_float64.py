"""Translations in float64: right to float64's own digits, or refused by name; no graph that does not load."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rnnserve.export import export_onnx
from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.parity import OnnxRunner

# Numbers that float32 holds: torch's exporter rounds others to float32 before a translation sees them.
_RIGHT = {
    "log1p": torch.log1p,
    "expm1": torch.expm1,
    "logsigmoid": F.logsigmoid,
    "softplus": F.softplus,
    "softplus(beta=2)": lambda x: F.softplus(x, beta=2),
    "logaddexp": lambda x: torch.logaddexp(x, -x),
    "logaddexp2": lambda x: torch.logaddexp2(x, -x),
    "logcumsumexp": lambda x: torch.logcumsumexp(x, 1),
    "logit": lambda x: torch.logit(x.sigmoid(), 1e-6),
    "xlogy": lambda x: torch.xlogy(x, x.abs()),
    "% 0.75": lambda x: x % 0.75,
    "% x": lambda x: x % (x.flip(1) + 0.125),
    "// 0.75": lambda x: x // 0.75,
    "fmod": lambda x: torch.fmod(x, 0.75),
    "div(trunc)": lambda x: torch.div(x, 0.75, rounding_mode="trunc"),
    "pow(0.5)": lambda x: x.abs() ** 0.5,
    "addcmul": lambda x: torch.addcmul(x, x, x, value=0.3),
    "addcdiv": lambda x: torch.addcdiv(x, x, x.abs() + 1, value=0.3),
    "lerp": lambda x: torch.lerp(x, -x, 0.375),
    "clamp": lambda x: x.clamp(-0.375, 1),
    "sign": torch.sign,
    "signbit": lambda x: x.signbit().double(),
    "heaviside": lambda x: torch.heaviside(x, x),
    "cumsum": lambda x: x.cumsum(1),
    "sort": lambda x: x.sort(dim=1, stable=True).values,
    "diagonal": lambda x: x.diagonal(),
    "group_norm": lambda x: F.group_norm(x[:, None], 1),
    "instance_norm": lambda x: F.instance_norm(x[:, None]),
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "amax": lambda x: x.amax(1),
    "sigmoid under a logarithm": lambda x: torch.log(torch.sigmoid(x)),
}
_REFUSED = {
    "atan2": (lambda x: torch.atan2(x, x.flip(1)), "Atan"),
    "erf": (torch.erf, "Erf"),
    "asinh": (torch.asinh, "Asinh"),
    "sinh": (torch.sinh, "Sinh"),
    "acos": (lambda x: torch.acos(x.tanh()), "Acos"),
    "avg_pool1d": (lambda x: F.avg_pool1d(x[:, None], 2), "AveragePool"),
}


class _Compute(nn.Module):
    def __init__(self, compute):
        super().__init__()
        self.compute = compute

    def forward(self, x):
        return self.compute(x)


def _export(compute, x):
    names: Any = {"input_names": ["x"], "output_names": ["y"], "dynamic_shapes": ({0: "batch"},)}
    return export_onnx(_Compute(compute), (x,), **names).model_proto.SerializeToString()


_X = torch.cat([torch.randn(6, 6, generator=torch.Generator().manual_seed(0)), torch.full((1, 6), 1e-9)]).double()
_X[2] *= 40


@pytest.mark.parametrize("compute", _RIGHT.values(), ids=_RIGHT)
def test_it_is_right_to_the_digits_of_float64(compute):
    (found,) = OnnxRunner(_export(compute, _X[:3]))({"x": _X.numpy()}).values()
    torch.testing.assert_close(torch.from_numpy(found), compute(_X), rtol=1e-11, atol=1e-14, equal_nan=True)


@pytest.mark.parametrize(("compute", "operator"), _REFUSED.values(), ids=_REFUSED)
def test_it_is_refused_by_name(compute, operator):
    with pytest.raises(UnsupportedModule, match=rf"{operator} of float64.*\.float\(\)"):
        _export(compute, _X[:3])
