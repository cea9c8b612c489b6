"""Powers and products whose order of computation shows: PyTorch has special cases that ONNX's Pow lacks."""

from collections.abc import Callable
from typing import Any

import torch

from rnnserve.export.operators.values import Value, is_floating, op

__all__ = ["TRANSLATIONS"]

_ATEN = torch.ops.aten


def _pow(x: Value, exponent: float) -> Value:
    """Compute a power: roots as PyTorch does, so that (-inf) ** 0.5 is nan and (-0.0) ** -0.5 is -inf."""
    if is_floating(x) and exponent in (0.5, -0.5):
        root = op.Sqrt(x)
        return root if exponent > 0 else op.Reciprocal(root)
    return op.Pow(x, exponent)


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
    _ATEN.addcmul.default: _addcmul,
    _ATEN.addcdiv.default: _addcdiv,
    _ATEN.lerp.Scalar: _lerp,
    _ATEN.lerp.Tensor: _lerp,
}
