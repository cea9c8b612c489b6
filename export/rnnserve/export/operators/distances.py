"""Distances of all pairs."""

import math
from collections.abc import Callable
from typing import Any

import torch

from rnnserve.export.operators.values import Value, op

__all__ = ["TRANSLATIONS"]

_ATEN = torch.ops.aten


def _cdist(x: Value, y: Value, p: float = 2.0, compute_mode: int | None = None) -> Value:  # noqa: ARG001 - of the operator
    """Compute the distances of all pairs from differences, whatever the number of points.

    From 26 points on, torch computes them from products, where those of near points lose their digits.
    """
    last: Value = op.Constant(value_ints=[-1])
    apart = op.Abs(op.Sub(op.Unsqueeze(x, op.Constant(value_ints=[-2])), op.Unsqueeze(y, op.Constant(value_ints=[-3]))))
    zero = op.CastLike(0.0, x)
    if p == math.inf:  # which passes over nan, in torch
        return op.ReduceMax(op.Where(op.IsNaN(apart), zero, apart), last, keepdims=0)
    if p == 0:
        differ = op.Where(op.Or(op.Equal(apart, zero), op.IsNaN(apart)), apart, op.CastLike(1.0, x))
        return op.ReduceSum(differ, last, keepdims=0)
    if p == 1:
        return op.ReduceSum(apart, last, keepdims=0)
    if p == 2:
        return op.Sqrt(op.ReduceSum(op.Mul(apart, apart), last, keepdims=0))
    return op.Pow(op.ReduceSum(op.Pow(apart, op.CastLike(p, x)), last, keepdims=0), op.CastLike(1 / p, x))


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    _ATEN.cdist.default: _cdist,
    _ATEN._cdist_forward.default: _cdist,  # noqa: SLF001 - its name in a decomposed program
}
