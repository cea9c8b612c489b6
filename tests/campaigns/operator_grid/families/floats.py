"""Functions of one float and of two, activations, and casts."""

import torch
import torch.nn.functional as F

from campaigns.operator_grid.operators import Family, Operator, methods, named
from campaigns.operator_grid.values import FLOATS, pairs, table

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


def _casts(*dtypes: torch.dtype) -> list[Operator]:
    return [operator for dtype in dtypes for operator in methods("to", dtype)]


OUT_OF_RANGE = Family(
    "Casts of all floats: nan, inf, and what no integer of the type is, which C leaves open (as on x86-64)",
    [table(FLOATS).repeat(40, 1)],
    [
        *_casts(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
        *_casts(torch.float16, torch.float64),
    ],
)

CASTS = Family(
    "Casts of finite floats within the range of the type, and type promotion",
    [table(FLOATS[FLOATS.isfinite() & (FLOATS.abs() < 100)])],
    [
        *_casts(torch.int64, torch.int32, torch.int8, torch.bool, torch.float64),
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


ACTIVATIONS = Family(
    "Activations",
    [table(FLOATS)],
    [
        *named(F, "hardshrink hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish relu relu6 silu softplus"),
        *named(F, "softshrink softsign"),
        *named(F, "celu elu selu", terms=lambda x: x.abs() + 1),
        *named(F, "tanhshrink", terms=lambda x: x.abs() + x.tanh().abs()),
        Operator("gelu", F.gelu),
        Operator("gelu(approximate='tanh')", lambda x: F.gelu(x, approximate="tanh"), terms=torch.abs),
        Operator("softplus(beta=2, threshold=10)", lambda x: F.softplus(x, beta=2.0, threshold=10.0)),
        Operator("threshold(0.1, -5)", lambda x: F.threshold(x, 0.1, -5.0)),
        Operator("glu", F.glu, terms=lambda x: x[:, :2].abs()),
    ],
)


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
        Operator(
            "binary_cross_entropy_with_logits",
            lambda x, y: F.binary_cross_entropy_with_logits(x, y, reduction="none"),
            terms=lambda x, y: x.abs() * (1 + y.abs()) + 1,
        ),
        Operator("isclose(equal_nan=True)", lambda x, y: torch.isclose(x, y, equal_nan=True)),
        Operator("where(y > 0, x, log(x))", lambda x, y: torch.where(y > 0, x, x.log())),
        Operator("masked_fill(y > 0, 0), of nan", lambda x, y: x.log().masked_fill(y > 0, 0.0)),
        Operator("max, min", lambda x, y: (torch.max(x, y), torch.min(x, y))),
        Operator("rsub(alpha=2)", lambda x, y: torch.rsub(x, y, alpha=2), differs=_FUSED),
        Operator("lerp(x, x, y)", lambda x, y: torch.lerp(x, x.flip(1), y), terms=lambda x, y: _far(x, y)),
        Operator("ldexp", lambda x, y: torch.ldexp(x, y.nan_to_num().clamp(-5, 5).long())),
        *(Operator(f"x {sign} 0.0", compute) for sign, compute in _BY_ZERO.items()),
        Operator("3.0 % x", lambda x, y: torch.remainder(3.0, x)),
        *(Operator(f"x ** {power:.3g}", lambda x, y, power=power: x**power) for power in (1 / 3, -3, 5, 2.5)),
        *(
            Operator(f"{base} ** x", lambda x, y, base=base: torch.pow(base, x))
            for base in (0.0, 1.0, -1.0, float("inf"))
        ),
        Operator("clamp to nan", lambda x, y: (x.clamp(min=float("nan")), x.clamp(max=float("nan")))),
        *(Operator(f"round(decimals={n})", lambda x, y, n=n: x.round(decimals=n)) for n in (0, 3, 7)),
        Operator("polar", lambda x, y: torch.polar(x.abs(), y).real, refused="computes with complex numbers"),
        *named(torch, "hypot fmax fmin nextafter", refused=_NO_FORM),
    ],
)
