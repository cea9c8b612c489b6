"""Functions of two floats: each pair of a smaller set of values."""

import torch
import torch.nn.functional as F

from campaigns.operator_grid.operators import Family, Operator, named
from campaigns.operator_grid.values import FLOATS, pairs

__all__ = ["BINARY"]

_NO_FORM = "does not exist in ONNX"
_FUSED = "where a product beyond 3.4e38 is added to a number of the other sign: eager does not round the product"
_BY_ZERO = {
    "%": lambda x, y: x % 0.0,
    "//": lambda x, y: x // 0.0,
    "/": lambda x, y: x / 0.0,
    "fmod": lambda x, y: torch.fmod(x, 0.0),
}


def _far(x, y):
    return x.abs() + (x.flip(1) - x).abs() * (1 + y.abs())


def _sizes(x, y):
    return x.abs() + y.abs()


BINARY = Family(
    "Two floats",
    pairs(FLOATS),
    [
        *named(torch, "add sub mul div floor_divide pow atan2 logaddexp maximum minimum"),
        *named(torch, "eq ne lt le gt ge isclose xlogy logical_and logical_or logical_xor"),
        *named(torch, "fmod remainder"),
        Operator("float_power", torch.float_power),
        *named(torch, "logaddexp2 heaviside copysign", refused="cannot be exported exactly"),
        Operator("div(rounding_mode='floor')", lambda x, y: torch.div(x, y, rounding_mode="floor")),
        Operator("div(rounding_mode='trunc')", lambda x, y: torch.div(x, y, rounding_mode="trunc")),
        Operator("special.xlog1py", torch.special.xlog1py),
        Operator("lerp(x, y, 0.3)", lambda x, y: torch.lerp(x, y, 0.3), terms=_sizes),
        Operator("addcmul(value=0.5)", lambda x, y: torch.addcmul(x, x, y, value=0.5), differs=_FUSED),
        Operator("addcdiv(value=0.5)", lambda x, y: torch.addcdiv(x, x, y, value=0.5)),
        Operator("x.clamp(y)", lambda x, y: x.clamp(y)),
        Operator("x.clamp(max=y)", lambda x, y: x.clamp(max=y)),
        Operator("x.clamp(y, y + 1)", lambda x, y: x.clamp(y, y + 1)),
        Operator("where(x < y, x, y)", lambda x, y: torch.where(x < y, x, y)),
        Operator("mse_loss(reduction='none')", lambda x, y: F.mse_loss(x, y, reduction="none")),
        Operator("huber_loss(reduction='none')", lambda x, y: F.huber_loss(x, y, reduction="none")),
        Operator("smooth_l1_loss(reduction='none')", lambda x, y: F.smooth_l1_loss(x, y, reduction="none")),
        Operator(
            "binary_cross_entropy_with_logits",
            lambda x, y: F.binary_cross_entropy_with_logits(x, y, reduction="none"),
            terms=lambda x, y: x.abs() * (1 + y.abs()) + 1,
        ),
        Operator("isclose(equal_nan=True)", lambda x, y: torch.isclose(x, y, equal_nan=True)),
        Operator("isclose(rtol=1e-2, atol=1e-3)", lambda x, y: torch.isclose(x, y, rtol=1e-2, atol=1e-3)),
        Operator("where(y > 0, x, log(x))", lambda x, y: torch.where(y > 0, x, x.log())),
        Operator("masked_fill(y > 0, 0), of nan", lambda x, y: x.log().masked_fill(y > 0, 0.0)),
        Operator("max, min", lambda x, y: (torch.max(x, y), torch.min(x, y))),
        Operator("rsub(alpha=2)", lambda x, y: torch.rsub(x, y, alpha=2), differs=_FUSED),
        Operator("add(alpha=0.5)", lambda x, y: torch.add(x, y, alpha=0.5)),
        Operator("lerp(x, x, y)", lambda x, y: torch.lerp(x, x.flip(1), y), terms=lambda x, y: _far(x, y)),
        Operator("ldexp", lambda x, y: torch.ldexp(x, y.nan_to_num().clamp(-5, 5).long())),
        *(Operator(f"x {sign} 0.0", compute) for sign, compute in _BY_ZERO.items()),
        Operator("3.0 % x", lambda x, y: torch.remainder(3.0, x)),
        Operator("3.0 // x", lambda x, y: 3.0 // x),
        Operator("1 / x", lambda x, y: 1 / x),
        *(Operator(f"x ** {power:.3g}", lambda x, y, power=power: x**power) for power in (1 / 3, -3, 5, 2.5)),
        *(
            Operator(f"{base} ** x", lambda x, y, base=base: torch.pow(base, x))
            for base in (0.0, 1.0, -1.0, float("inf"))
        ),
        Operator("clamp to nan", lambda x, y: (x.clamp(min=float("nan")), x.clamp(max=float("nan")))),
        Operator("clamp to inf", lambda x, y: x.clamp(-float("inf"), float("inf"))),
        *(Operator(f"round(decimals={n})", lambda x, y, n=n: x.round(decimals=n)) for n in (0, 3, 7)),
        Operator("nan_to_num(neginf=0)", lambda x, y: x.nan_to_num(neginf=0.0)),
        Operator("nan_to_num(nan=inf)", lambda x, y: x.nan_to_num(nan=float("inf"), posinf=1.0)),
        Operator("polar", lambda x, y: torch.polar(x.abs(), y).real, refused="computes with complex numbers"),
        *named(torch, "hypot fmax fmin nextafter", refused=_NO_FORM),
    ],
)
