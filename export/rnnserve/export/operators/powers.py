"""Powers and products whose order of computation shows: PyTorch has special cases that ONNX's Pow lacks.

onnxruntime computes powers of integers in float64, which has 53 bits, and gives the lowest integer where they overflow;
PyTorch multiplies integers, which wrap round. Here they are multiplied, too.
"""

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import torch

from rnnserve.export.operators.values import Value, is_floating, op

__all__ = ["TRANSLATIONS"]

_ATEN = torch.ops.aten
_INT64 = ir.DataType.INT64.value


def _pow(x: Value, exponent: float) -> Value:
    """Compute a power: roots as PyTorch does, so that (-inf) ** 0.5 is nan and (-0.0) ** -0.5 is -inf."""
    if is_floating(x) and exponent in (0.5, -0.5):
        root = op.Sqrt(x)
        return root if exponent > 0 else op.Reciprocal(root)
    if is_floating(x) or exponent != int(exponent) or exponent < 0:
        return op.Pow(x, exponent)
    result, square, rest = op.CastLike(1, x), x, int(exponent)
    while rest:
        result = op.Mul(result, square) if rest % 2 else result
        square, rest = (op.Mul(square, square), rest // 2) if rest > 1 else (square, 0)
    return op.Expand(result, op.Shape(x)) if exponent == 0 else result


def _pow_tensor(x: Value, exponent: Value) -> Value:
    """Compute powers by a tensor of exponents, of integers by squaring: six times, for exponents up to 63.

    Beyond that powers overflow, but for those of -1, 0 and 1: of even numbers nothing is left; what is left of odd ones
    has no meaning, and is another number than PyTorch's.
    """
    if isinstance(x, float) and not is_floating(exponent):  # PyTorch's result is of floats then
        exponent = op.Cast(exponent, to=ir.DataType.FLOAT.value)
    if is_floating(exponent) or (isinstance(x, ir.Value) and is_floating(x)):
        return op.Pow(x if isinstance(x, ir.Value) else op.CastLike(x, exponent), exponent)
    wide, two = op.Cast(x if isinstance(x, ir.Value) else op.CastLike(x, exponent), to=_INT64), op.Constant(value_int=2)
    signed = op.Cast(exponent, to=_INT64)
    one, zero, square, rest = op.Constant(value_int=1), op.Constant(value_int=0), wide, op.Abs(signed)
    result = one
    for _ in range(6):
        result = op.Mul(result, op.Where(op.Equal(op.Mod(rest, two), one), square, one))
        square, rest = op.Mul(square, square), op.Div(rest, two)
    nothing = op.And(op.Greater(rest, zero), op.Equal(op.Mod(wide, two), zero))
    # A power below 0 is a fraction, which is cut off.
    nothing = op.Or(nothing, op.And(op.Less(signed, zero), op.Not(op.Equal(op.Abs(wide), one))))
    return op.CastLike(op.Where(nothing, zero, result), x if isinstance(x, ir.Value) else exponent)


def _addcmul(x: Value, first: Value, second: Value, value: float = 1.0) -> Value:
    """Compute x + value * first * second, from left to right: another order overflows for other numbers."""
    return op.Add(x, op.Mul(first if value == 1 else op.Mul(first, op.CastLike(value, first)), second))


def _addcdiv(x: Value, first: Value, second: Value, value: float = 1.0) -> Value:
    return op.Add(x, op.Div(first if value == 1 else op.Mul(first, op.CastLike(value, first)), second))


def _lerp(start: Value, end: Value, weight: Value) -> Value:
    """Compute between start and end, from whichever is nearer, as PyTorch does."""
    distance, weight = op.Sub(end, start), op.CastLike(weight, start)
    from_end = op.Sub(end, op.Mul(distance, op.Sub(op.CastLike(1.0, start), weight)))
    return op.Where(op.Less(op.Abs(weight), 0.5), op.Add(start, op.Mul(weight, distance)), from_end)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    _ATEN.pow.Tensor_Scalar: _pow,
    _ATEN.pow.Tensor_Tensor: _pow_tensor,
    _ATEN.pow.Scalar: _pow_tensor,
    _ATEN.addcmul.default: _addcmul,
    _ATEN.addcdiv.default: _addcdiv,
    _ATEN.lerp.Scalar: _lerp,
    _ATEN.lerp.Tensor: _lerp,
}
