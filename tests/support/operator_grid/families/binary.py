"""Functions of two floats: each pair of a smaller set of values."""

import torch
import torch.nn.functional as F

from support.operator_grid.operators import Family, Operator, named
from support.operator_grid.values import FLOATS, pairs

__all__ = ["BINARY"]

_NO_FORM = "No ONNX function found"
_FUSED = "where a product beyond 3.4e38 is added to a number of the other sign: eager does not round the product"

BINARY = Family(
    "Two floats",
    pairs(FLOATS),
    [
        *named(torch, "add sub mul div floor_divide pow atan2 logaddexp maximum minimum"),
        *named(torch, "eq ne lt le gt ge isclose xlogy heaviside logical_and logical_or logical_xor"),
        *named(torch, "fmod remainder"),
        Operator("float_power", torch.float_power, differs="in the last digits of float64"),
        Operator("logaddexp2", torch.logaddexp2, within=1.2e-7),
        Operator("div(rounding_mode='floor')", lambda x, y: torch.div(x, y, rounding_mode="floor")),
        Operator("div(rounding_mode='trunc')", lambda x, y: torch.div(x, y, rounding_mode="trunc")),
        Operator("special.xlog1py", torch.special.xlog1py),
        Operator("lerp(x, y, 0.3)", lambda x, y: torch.lerp(x, y, 0.3), within=1.2e-7),
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
            within=1.2e-7,
        ),
        *named(torch, "hypot fmax fmin nextafter", refused=_NO_FORM),
    ],
)
