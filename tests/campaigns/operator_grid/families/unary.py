"""Functions of one float, and casts of one."""

import torch

from campaigns.operator_grid.operators import Family, Operator, named
from campaigns.operator_grid.values import FLOATS, table

__all__ = ["CASTS", "OUT_OF_RANGE", "UNARY"]

_NO_FORM = "does not exist in ONNX"
_FAR = "of 3.4e38, whose remainder eager gives as nan"

UNARY = Family(
    "One float",
    [table(FLOATS)],
    [
        *named(torch, "abs acos acosh asin asinh atan atanh ceil cos cosh deg2rad erf exp exp2 expm1 floor frac"),
        *named(torch, "isfinite isinf isnan isneginf isposinf log log10 log1p log2 logit nan_to_num neg positive"),
        *named(torch, "rad2deg reciprocal round rsqrt sgn sign sin sinc sinh sqrt square tan tanh trunc"),
        Operator("signbit", torch.signbit, refused="cannot be exported exactly"),
        *named(torch, "absolute arccos arccosh arcsin arcsinh arctan arctanh fix negative"),
        *(Operator(f"special.{name}", getattr(torch.special, name)) for name in ("exp2", "log1p", "round", "ndtr")),
        Operator("special.expit", torch.special.expit, kernel="Sigmoid"),
        Operator("logical_not", torch.logical_not),
        Operator("special.entr", torch.special.entr),
        Operator("sigmoid", torch.sigmoid, kernel="Sigmoid"),
        Operator("erfc", torch.erfc, kernel="Erf"),
        Operator("log(sigmoid(x))", lambda x: torch.log(torch.sigmoid(x))),
        Operator("log(sigmoid(x) + 1e-10)", lambda x: torch.log(torch.sigmoid(x) + 1e-10)),
        Operator("1 / sigmoid(x)", lambda x: 1 / torch.sigmoid(x)),
        Operator("1 - tanh(x) ** 2", lambda x: 1 - torch.tanh(x) ** 2, terms=torch.ones_like),
        *(Operator(f"x ** {power}", lambda x, power=power: x**power) for power in (0, 0.5, 1.5, 2, 3, -0.5, -1)),
        Operator("2.0 ** x", lambda x: 2.0**x),
        Operator("(-2.0) ** x", lambda x: torch.pow(-2.0, x)),
        Operator("1 - x", lambda x: 1 - x),
        *(Operator(f"x % {y}", lambda x, y=y: x % y, differs=_FAR if y == 0.1 else "") for y in (3.0, -3.0, 0.1)),
        *(Operator(f"x // {y}", lambda x, y=y: x // y) for y in (3.0, -0.7)),
        *(Operator(f"fmod(x, {y})", lambda x, y=y: torch.fmod(x, y)) for y in (3.0, -3.0)),
        Operator("round(decimals=2)", lambda x: torch.round(x, decimals=2)),
        Operator("round(decimals=-1)", lambda x: torch.round(x, decimals=-1)),
        Operator("logit(eps=1e-6)", lambda x: torch.logit(x, 1e-6)),
        Operator("nan_to_num(1, 2, -3)", lambda x: torch.nan_to_num(x, 1.0, 2.0, -3.0)),
        Operator("clamp(-1, 1)", lambda x: x.clamp(-1, 1)),
        Operator("clamp(2, -2)", lambda x: x.clamp(2, -2)),
        Operator("clamp(min=0)", lambda x: x.clamp(min=0)),
        Operator("clamp(max=2.5)", lambda x: x.clamp(max=2.5)),
        Operator("where(x > 0, x, -x)", lambda x: torch.where(x > 0, x, -x)),
        Operator("masked_fill(x > 1, -1e9)", lambda x: x.masked_fill(x > 1, -1e9)),
        *named(torch.special, "erfinv i0 i1 i0e i1e ndtri digamma", refused=_NO_FORM),
        Operator("lgamma", torch.lgamma, refused=_NO_FORM),
        Operator("polygamma(1, x)", lambda x: torch.polygamma(1, x), refused=_NO_FORM),
        Operator("frexp", torch.frexp, refused=_NO_FORM),
        Operator("special.erfcx", torch.special.erfcx, refused="exp(x * x)"),
        Operator("special.log_ndtr", torch.special.log_ndtr, refused="The same holds for log_ndtr"),
    ],
)

OUT_OF_RANGE = Family(
    "Casts of all floats: nan, inf, and what no integer of the type is, which C leaves open (as on x86-64)",
    [table(FLOATS).repeat(40, 1)],
    [
        Operator(f"to({dtype})", lambda x, dtype=dtype: x.to(dtype))
        for dtype in (
            *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
            *(torch.float16, torch.float64),
        )
    ],
)

CASTS = Family(
    "Casts of finite floats within the range of the type, and type promotion",
    [table(FLOATS[FLOATS.isfinite() & (FLOATS.abs() < 100)])],
    [
        *(
            Operator(f"to({dtype})", lambda x, dtype=dtype: x.to(dtype))
            for dtype in (torch.int64, torch.int32, torch.int8)
        ),
        *(Operator(f"to({dtype})", lambda x, dtype=dtype: x.to(dtype)) for dtype in (torch.bool, torch.float64)),
        Operator("half().float()", lambda x: x.half().float()),
        Operator("bfloat16().float()", lambda x: x.bfloat16().float()),
        Operator("long() + 1", lambda x: x.long() + 1),
        Operator("round().int()", lambda x: x.round().int()),
        Operator("x + (x > 0)", lambda x: x + (x > 0)),
        Operator("x * arange", lambda x: x * torch.arange(4)),
        Operator("long() / 2", lambda x: x.long() / 2),
        Operator("long() * 0.5", lambda x: x.long() * 0.5),
    ],
)
