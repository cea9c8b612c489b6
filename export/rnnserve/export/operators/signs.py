"""Signs, and what depends on them: nan, -0.0 and infinities."""

import math
from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import torch

from rnnserve.export.operators.values import Value, is_floating, is_negative, op

__all__ = ["TRANSLATIONS"]

_ATEN = torch.ops.aten


def _sign(x: Value) -> Value:
    """Compute the sign; of nan it is 0 in PyTorch, and nan in onnxruntime."""
    if not is_floating(x):
        return op.Sign(x)
    return op.Where(op.IsNaN(x), op.CastLike(0.0, x), op.Sign(x))


def _signbit(x: Value) -> Value:
    return is_negative(x) if is_floating(x) else op.Less(x, op.CastLike(0, x))


def _copysign(x: Value, y: Value) -> Value:
    """Compute |x| with the sign of y, which counts for zeros, too."""
    size = op.Abs(op.Add(x, 0.0)) if is_floating(x) else op.Abs(op.Cast(x, to=ir.DataType.FLOAT.value))
    y = op.CastLike(y, size)
    return op.Where(is_negative(y), op.Neg(size), size)


def _heaviside(x: Value, values: Value) -> Value:
    """Compute the step function; of nan it is 0 in PyTorch."""
    return op.Where(op.Equal(x, op.CastLike(0, x)), values, op.CastLike(op.Greater(x, op.CastLike(0, x)), x))


def _atan2(y: Value, x: Value) -> Value:
    """Compute the angle in the right quadrant, for zeros of either sign and infinities, too."""
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


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    _ATEN.sign.default: _sign,
    _ATEN.sgn.default: _sign,
    _ATEN.signbit.default: _signbit,
    torch.ops.prims.signbit.default: _signbit,
    _ATEN.copysign.Tensor: _copysign,
    _ATEN.copysign.Scalar: _copysign,
    _ATEN.heaviside.default: _heaviside,
    _ATEN.atan2.default: _atan2,
}
