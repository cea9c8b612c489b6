"""Logarithms and exponentials near 0 and far from it.

torch's translations compute log(1 + x), exp(x) - 1 and log(exp(a) + exp(b)) as they are written: nothing of a small x
is left in 1 + x, and exp overflows at 88.7. Here log1p and expm1 are William Kahan's ("Interval arithmetic options",
1987; Higham, "Accuracy and Stability of Numerical Algorithms", section 1.14.1): the rounding error of u = 1 + x cancels
in log(u) * x / (u - 1). Softplus, which is log(1 + exp(x)), is accurate in onnxruntime, for float32.
"""

import math
from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import torch

from rnnserve.export.operators.values import Value, op

__all__ = ["TRANSLATIONS", "log1p_of_exp"]

_ATEN = torch.ops.aten


def log1p_of_exp(x: Value) -> Value:
    """Compute log(1 + exp(x)) for x <= 0; onnxruntime has Softplus for float32 and float16 only."""
    return _log1p(op.Exp(x)) if x.dtype == ir.DataType.DOUBLE else op.Softplus(x)


def _log1p(x: Value) -> Value:
    u = op.Add(x, 1.0)
    accurate = op.Mul(op.Log(u), op.Div(x, op.Sub(u, 1.0)))
    # Where x > 1 the error of u does not matter, and inf / inf does.
    return op.Where(op.Equal(u, 1.0), x, op.Where(op.Greater(x, 1.0), op.Log(u), accurate))


def _expm1(x: Value) -> Value:
    u = op.Exp(x)
    less_one = op.Sub(u, 1.0)
    accurate = op.Mul(less_one, op.Div(x, op.Log(u)))
    return op.Where(op.Equal(u, 1.0), x, op.Where(op.Greater(op.Abs(x), 1.0), less_one, accurate))


def _log_sigmoid(x: Value) -> Value:
    if x.dtype == ir.DataType.DOUBLE:
        return op.Sub(op.Min(x, op.CastLike(0.0, x)), log1p_of_exp(op.Neg(op.Abs(x))))
    return op.Neg(op.Softplus(op.Neg(x)))


def _log_sigmoid_forward(x: Value) -> tuple[Value, Value]:
    return _log_sigmoid(x), x  # the second result is for training only


def _logaddexp(x: Value, y: Value) -> Value:
    sum_of = op.Add(op.Max(x, y), log1p_of_exp(op.Neg(op.Abs(op.Sub(x, y)))))
    # Of equal infinities the difference is nan.
    return op.Where(op.Equal(x, y), op.Add(x, math.log(2)), sum_of)


def _logaddexp2(x: Value, y: Value) -> Value:
    distance = op.Mul(op.Neg(op.Abs(op.Sub(x, y))), math.log(2))
    sum_of = op.Add(op.Max(x, y), op.Div(log1p_of_exp(distance), math.log(2)))
    return op.Where(op.Equal(x, y), op.Add(x, 1.0), sum_of)


def _logit(x: Value, eps: float | None = None) -> Value:
    """Compute log(x / (1 - x)), of x between eps and 1 - eps; nan stays nan."""
    if eps is not None:
        x = op.Min(op.Max(x, op.CastLike(eps, x)), op.CastLike(1.0 - eps, x))
    return op.Log(op.Div(x, op.Sub(op.CastLike(1.0, x), x)))


def _xlogy(x: Value, y: Value) -> Value:
    """Compute x * log(y): 0 where x is 0, but nan where y is nan."""
    product = op.Mul(x, op.Log(y))
    return op.Where(op.And(op.Equal(x, 0.0), op.Not(op.IsNaN(y))), op.Mul(x, 0.0), product)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    _ATEN.log1p.default: _log1p,
    _ATEN.expm1.default: _expm1,
    _ATEN.special_expm1.default: _expm1,
    _ATEN.log_sigmoid.default: _log_sigmoid,
    _ATEN.log_sigmoid_forward.default: _log_sigmoid_forward,
    _ATEN.logaddexp.default: _logaddexp,
    _ATEN.logaddexp2.default: _logaddexp2,
    _ATEN.logit.default: _logit,
    _ATEN.xlogy.Tensor: _xlogy,
}
