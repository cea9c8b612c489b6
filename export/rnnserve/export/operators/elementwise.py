"""Operators that compute value by value: bounds, powers, logarithms, divisions and operators that depend on signs.

Bounds: without a bound, onnxruntime's Clip uses the largest finite number. A mask of -inf became -3.4e38.

Powers: onnxruntime's Pow lacks PyTorch's special cases and computes powers of integers in float64.

Logarithms: torch's translations compute log(1 + x), exp(x) - 1 and log(exp(a) + exp(b)) literally. In 1 + x a small x
is lost, and exp overflows at 88.7. The formulas for log1p and expm1 here are William Kahan's ("Interval arithmetic
options", 1987; Higham, "Accuracy and Stability of Numerical Algorithms", section 1.14.1): the rounding error of u = 1 +
x cancels in log(u) * x / (u - 1). In onnxruntime, Softplus, which is log(1 + exp(x)), is accurate for float32.

Remainders and rounded divisions: torch's translations compute x - floor(x / y) * y. The quotient is rounded before the
floor, so 0.1 // 0.1 and 1e10 % 3 were wrong by a whole divisor. Integers can be divided only by constants and sizes,
because onnxruntime ends the process if the divisor is 0 or if the lowest integer is divided by -1.
"""

import math
from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import torch

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.operators.graphs import Value, is_floating, is_negative, op

_ATEN = torch.ops.aten

_OF_MAX = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.INT32, ir.DataType.INT64)
"""The types for which onnxruntime has Max and Min. For small integers, which have no inf, it has Clip."""


def _clamp(x: Value, min: Value = None, max: Value = None) -> Value:
    low, high = (None if bound is None else op.CastLike(bound, x) for bound in (min, max))
    if x.dtype not in _OF_MAX:
        return op.Clip(x, low, high)
    return _clamp_tensor(x, low, high)


def _clamp_tensor(x: Value, min: Value = None, max: Value = None) -> Value:
    """Use the upper bound if the bounds cross, as PyTorch does. ONNX's Clip doesn't define this case."""
    result = x if min is None else op.Max(x, op.CastLike(min, x))
    return result if max is None else op.Min(result, op.CastLike(max, x))


def _clamp_min(x: Value, min: Value) -> Value:
    return _clamp(x, min=min)


def _clamp_max(x: Value, max: Value) -> Value:
    return _clamp(x, max=max)


def _pow(x: Value, exponent: float) -> Value:
    """Compute a power, roots as in PyTorch: (-inf) ** 0.5 is nan and (-0.0) ** -0.5 is -inf."""
    if is_floating(x) and exponent in (0.5, -0.5):
        root = op.Sqrt(x)
        return root if exponent > 0 else op.Reciprocal(root)
    if is_floating(x) or exponent != int(exponent) or exponent < 0:
        return op.Pow(x, exponent)
    # PyTorch multiplies integers, so powers wrap around when they overflow.
    result, square, rest = op.CastLike(1, x), x, int(exponent)
    while rest:
        result = op.Mul(result, square) if rest % 2 else result
        square, rest = (op.Mul(square, square), rest // 2) if rest > 1 else (square, 0)
    return op.Expand(result, op.Shape(x)) if exponent == 0 else result


def _pow_tensor(x: Value, exponent: Value) -> Value:
    """Raise floats to a tensor of exponents. The base may be a number."""
    if isinstance(x, float) and not is_floating(exponent):  # PyTorch's result is float in this case
        exponent = op.Cast(exponent, to=ir.DataType.FLOAT.value)
    if is_floating(exponent) or (isinstance(x, ir.Value) and is_floating(x)):
        return op.Pow(x if isinstance(x, ir.Value) else op.CastLike(x, exponent), exponent)
    raise UnsupportedModule(
        "onnxruntime raises integers to integer tensors in float64, which loses digits beyond 2 ** 53. If powers "
        "stay below 2 ** 53, compute with floats, (x.double() ** y).long(). Otherwise look them up in a buffer"
    )


def _addcmul(x: Value, first: Value, second: Value, value: float = 1.0) -> Value:
    """Compute x + value * first * second from left to right, because another order overflows for other numbers."""
    return op.Add(x, op.Mul(first if value == 1 else op.Mul(first, op.CastLike(value, first)), second))


def _addcdiv(x: Value, first: Value, second: Value, value: float = 1.0) -> Value:
    return op.Add(x, op.Div(first if value == 1 else op.Mul(first, op.CastLike(value, first)), second))


def _lerp(start: Value, end: Value, weight: Value) -> Value:
    """Interpolate between start and end from the nearer of the two, as PyTorch does."""
    distance, weight = op.Sub(end, start), op.CastLike(weight, start)
    from_end = op.Sub(end, op.Mul(distance, op.Sub(op.CastLike(1.0, start), weight)))
    return op.Where(op.Less(op.Abs(weight), 0.5), op.Add(start, op.Mul(weight, distance)), from_end)


def _log1p(x: Value) -> Value:
    u = op.Add(x, 1.0)
    accurate = op.Mul(op.Log(u), op.Div(x, op.Sub(u, 1.0)))
    # If x > 1, the error of u doesn't matter, but inf / inf would.
    return op.Where(op.Equal(u, 1.0), x, op.Where(op.Greater(x, 1.0), op.Log(u), accurate))


def _expm1(x: Value) -> Value:
    u = op.Exp(x)
    less_one = op.Sub(u, 1.0)
    accurate = op.Mul(less_one, op.Div(x, op.Log(u)))
    return op.Where(op.Equal(u, 1.0), x, op.Where(op.Greater(op.Abs(x), 1.0), less_one, accurate))


def _log1p_of_exp(x: Value) -> Value:
    """Compute log(1 + exp(x)) for x <= 0. onnxruntime has Softplus for float32 and float16 only."""
    return _log1p(op.Exp(x)) if x.dtype == ir.DataType.DOUBLE else op.Softplus(x)


def _log_sigmoid(x: Value) -> Value:
    if x.dtype == ir.DataType.DOUBLE:
        return op.Sub(op.Min(x, op.CastLike(0.0, x)), _log1p_of_exp(op.Neg(op.Abs(x))))
    return op.Neg(op.Softplus(op.Neg(x)))


def _logaddexp(x: Value, y: Value) -> Value:
    sum_of = op.Add(op.Max(x, y), _log1p_of_exp(op.Neg(op.Abs(op.Sub(x, y)))))
    # The difference of equal infinities is nan.
    return op.Where(op.Equal(x, y), op.Add(x, math.log(2)), sum_of)


def _logit(x: Value, eps: float | None = None) -> Value:
    """Compute log(x / (1 - x)) after limiting x to eps and 1 - eps. nan stays nan."""
    if eps is not None:
        x = _clamp(x, eps, 1.0 - eps)
    return op.Log(op.Div(x, op.Sub(op.CastLike(1.0, x), x)))


def _xlogy(x: Value, y: Value) -> Value:
    """Compute x * log(y): 0 if x is 0, but nan if y is nan."""
    product = op.Mul(x, op.Log(y))
    return op.Where(op.And(op.Equal(x, 0.0), op.Not(op.IsNaN(y))), op.Mul(x, 0.0), product)


def _sign(x: Value) -> Value:
    """Compute the sign. The sign of nan is 0 in PyTorch and nan in onnxruntime."""
    return op.Where(op.IsNaN(x), op.CastLike(0.0, x), op.Sign(x)) if is_floating(x) else op.Sign(x)


def _atan2(y: Value, x: Value) -> Value:
    """Compute the angle in the right quadrant, including for signed zeros and infinities."""
    width, height = op.Abs(x), op.Abs(y)
    larger = op.Max(width, height)
    ratio = op.Div(op.Min(width, height), larger)
    ratio = op.Where(op.Equal(larger, 0.0), op.CastLike(0.0, x), ratio)
    ratio = op.Where(op.And(op.Equal(width, height), op.IsInf(larger)), op.CastLike(1.0, x), ratio)
    angle = op.Atan(ratio)
    angle = op.Where(op.Greater(height, width), op.Sub(op.CastLike(math.pi / 2, x), angle), angle)
    angle = op.Where(is_negative(x), op.Sub(op.CastLike(math.pi, x), angle), angle)
    angle = op.Where(is_negative(y), op.Neg(angle), angle)
    return op.Where(op.Or(op.IsNaN(x), op.IsNaN(y)), op.CastLike(math.nan, x), angle)


_OF_SIZES = frozenset({"Gather", "Shape", "Size", "Squeeze"})
"""The operators with which torch's exporter computes the size of an axis. A size used as a divisor is never 0."""


def _of_integers(x: Value, y: Value, compute: Callable[[Value], Value], by_minus_one: Callable[[], Value]) -> Value:
    """Divide integers if the divisor is a constant or a size, and refuse any other divisor."""
    constant = _constant(y)
    if constant:
        return by_minus_one() if constant == -1 else compute(op.CastLike(y, x))
    producer = y.producer() if isinstance(y, ir.Value) else None
    if producer is not None and producer.op_type in _OF_SIZES:
        return compute(op.CastLike(y, x))
    raise UnsupportedModule(
        "the module divides integers by an integer tensor, with //, % or torch.div. If a divisor is 0, eager raises "
        "an error, but onnxruntime ends the server's process. Divide floats, x.float() / y, and use torch.floor; or "
        "divide by a Python number"
    )


def _constant(y: Value) -> int | None:
    """Return the divisor if it is a constant, perhaps behind a cast to the dividend's type, else None."""
    if not isinstance(y, ir.Value):
        return int(y)
    producer = y.producer()
    if producer is not None and producer.op_type == "Cast" and producer.inputs[0] is not None:
        return _constant(producer.inputs[0])
    tensor = ir.convenience.get_const_tensor(y)
    return int(tensor.numpy().item()) if tensor is not None and tensor.size == 1 else None


def _of_floats(x: Value, y: Value) -> tuple[Value, Value, bool]:
    """Return both operands in one type, and whether it is a float type. The dividend may be a number: 3.0 // y."""
    if isinstance(x, ir.Value):
        return x, op.CastLike(y, x) if is_floating(x) else y, is_floating(x)
    return op.CastLike(x, y), y, is_floating(y)


def _floor_of_integers(x: Value, y: Value) -> Value:
    """Compute the floor. onnxruntime's Div rounds toward 0, and its Mod has the divisor's sign."""
    zero = op.CastLike(0, x)
    exact = op.Equal(op.Mod(x, y), zero)
    rounded_up = op.And(op.Not(exact), op.Xor(op.Less(x, zero), op.Less(y, zero)))
    return op.Sub(op.Div(x, y), op.CastLike(rounded_up, x))


def _remainder(x: Value, y: Value) -> Value:
    """Compute the remainder with the divisor's sign, as PyTorch's `c10::div_mod` does."""
    x, y, of_floats = _of_floats(x, y)
    if not of_floats:
        return _of_integers(x, y, lambda divisor: op.Mod(x, divisor), lambda: op.Sub(x, x))
    rest = op.Mod(x, y, fmod=1)
    differs = op.And(op.Not(op.Equal(rest, 0.0)), op.Xor(op.Less(rest, 0.0), op.Less(y, 0.0)))
    return op.Where(differs, op.Add(rest, y), rest)


def _floor_divide(x: Value, y: Value) -> Value:
    """Compute the floor of the exact quotient with the steps of PyTorch's `c10::div_floor_floating`, in their order."""
    x, y, of_floats = _of_floats(x, y)
    if not of_floats:
        return _of_integers(x, y, lambda divisor: _floor_of_integers(x, divisor), lambda: op.Neg(x))
    rest = op.Mod(x, y, fmod=1)
    exact = op.Div(op.Sub(x, rest), y)
    differs = op.And(op.Not(op.Equal(rest, 0.0)), op.Xor(op.Less(rest, 0.0), op.Less(y, 0.0)))
    exact = op.Where(differs, op.Sub(exact, 1.0), exact)
    floored = op.Floor(exact)
    floored = op.Where(op.Greater(op.Sub(exact, floored), 0.5), op.Add(floored, 1.0), floored)
    quotient = op.Div(x, y)
    zero = op.Mul(op.Where(is_negative(quotient), op.CastLike(-1.0, x), op.CastLike(1.0, x)), 0.0)
    return op.Where(op.Equal(y, 0.0), quotient, op.Where(op.Equal(exact, 0.0), zero, floored))


def _truncated(x: Value, y: Value) -> Value:
    """Compute the quotient rounded toward 0. onnxruntime already divides integers this way."""
    x, y, of_floats = _of_floats(x, y)
    if not of_floats:
        return _of_integers(x, y, lambda divisor: op.Div(x, divisor), lambda: op.Neg(x))
    quotient = op.Div(x, y)
    return op.Where(op.Less(quotient, 0.0), op.Ceil(quotient), op.Floor(quotient))


def _fmod(x: Value, y: Value) -> Value:
    """Compute the remainder with the dividend's sign. Integers are never converted to floats."""
    if is_floating(x):
        return op.Mod(x, op.CastLike(y, x), fmod=1)
    return _of_integers(x, y, lambda divisor: op.Sub(x, op.Mul(op.Div(x, divisor), divisor)), lambda: op.Sub(x, x))


def _div_mode(x: Value, y: Value, rounding_mode: str | None = None) -> Value:
    if rounding_mode == "floor":
        return _floor_divide(x, y)
    return _truncated(x, y) if rounding_mode == "trunc" else op.Div(x, op.CastLike(y, x))


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    _ATEN.clamp.default: _clamp,
    _ATEN.clamp_min.default: _clamp_min,
    _ATEN.clamp_max.default: _clamp_max,
    _ATEN.clamp.Tensor: _clamp_tensor,
    _ATEN.clamp_min.Tensor: _clamp_min,
    _ATEN.clamp_max.Tensor: _clamp_max,
    _ATEN.pow.Tensor_Scalar: _pow,
    _ATEN.pow.Tensor_Tensor: _pow_tensor,
    _ATEN.pow.Scalar: _pow_tensor,
    _ATEN.addcmul.default: _addcmul,
    _ATEN.addcdiv.default: _addcdiv,
    _ATEN.lerp.Scalar: _lerp,
    _ATEN.lerp.Tensor: _lerp,
    _ATEN.log1p.default: _log1p,
    _ATEN.expm1.default: _expm1,
    _ATEN.special_expm1.default: _expm1,
    _ATEN.log_sigmoid.default: _log_sigmoid,
    _ATEN.log_sigmoid_forward.default: lambda x: (_log_sigmoid(x), x),  # the second result is for training only
    _ATEN.logaddexp.default: _logaddexp,
    _ATEN.logit.default: _logit,
    _ATEN.xlogy.Tensor: _xlogy,
    _ATEN.sign.default: _sign,
    _ATEN.sgn.default: _sign,
    _ATEN.atan2.default: _atan2,
    _ATEN.remainder.Tensor: _remainder,
    _ATEN.remainder.Scalar: _remainder,
    _ATEN.remainder.Scalar_Tensor: _remainder,
    _ATEN.fmod.Tensor: _fmod,
    _ATEN.fmod.Scalar: _fmod,
    _ATEN.floor_divide.default: _floor_divide,
    _ATEN.div.Tensor_mode: _div_mode,
    _ATEN.div.Scalar_mode: _div_mode,
}


_OF_TWO_BOUNDS = (_ATEN.clamp.default, _ATEN.clamp_.default, _ATEN.clip.default, _ATEN.clip_.default)


def unify_numbers(program: torch.export.ExportedProgram) -> None:
    """Convert integer bounds of float tensors to floats, in place, because torch only decomposes bounds of one type."""
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if node.target in _OF_TWO_BOUNDS and isinstance(value, torch.Tensor) and value.is_floating_point():
            node.args = tuple(_as_float(argument) for argument in node.args)
            node.kwargs = {name: _as_float(argument) for name, argument in node.kwargs.items()}


def _as_float(argument: object) -> object:
    return float(argument) if isinstance(argument, int) and not isinstance(argument, bool) else argument
