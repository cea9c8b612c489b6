"""Sums over many steps, and logarithms of sums of exponentials, in float64.

PyTorch adds up in cascades (aten/src/ATen/native/cpu/SumKernel.cpp), so that the error grows with the logarithm of the
number of values; onnxruntime adds one value after the other. Over 3,000 steps it had lost ten times as much as eager.
Sums over axes of a fixed size, such as features, are short and stay as they are.
"""

from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir
import torch

from rnnserve.export.operators.values import Value, is_floating, op

__all__ = ["TRANSLATIONS"]

_ATEN = torch.ops.aten
_SMALL = (ir.DataType.BOOL, ir.DataType.INT8, ir.DataType.INT16, ir.DataType.INT32, ir.DataType.UINT8)
_LONG = 1024
"""Values along axes of fixed sizes from which on a sum is as long as one over steps."""


def _axes(x: Value, dim: Sequence[int] | int | None) -> list[int]:
    rank = len(x.shape)
    chosen = [dim] if isinstance(dim, int) else dim
    return sorted(axis % rank for axis in chosen) if chosen else list(range(rank))


def _is_long(x: Value, axes: Sequence[int]) -> bool:
    count = 1
    for axis in axes:
        size = x.shape[axis]
        if not isinstance(size, int):
            return True
        count *= size
    return count >= _LONG


def _sum_of(x: Value, dim: Sequence[int] | None, keepdim: bool = False, dtype: int = -1) -> Value:
    """Compute sums over axes; of integers in int64, as PyTorch does."""
    result = x.dtype if dtype in (-1, None) else ir.DataType(dtype)
    if dtype in (-1, None) and x.dtype in _SMALL:
        result = ir.DataType.INT64
    if not len(x.shape):
        return op.Cast(x, to=result.value)
    axes = _axes(x, dim)
    inner = ir.DataType.DOUBLE if result.is_floating_point() and _is_long(x, axes) else result
    sums = op.ReduceSum(op.Cast(x, to=inner.value), op.Constant(value_ints=axes), keepdims=int(keepdim))
    return op.Cast(sums, to=result.value)


def _sum_of_all(x: Value, dtype: int = -1) -> Value:
    return _sum_of(x, None, dtype=dtype)


def _log_sum_exp(x: Value, dim: Sequence[int] | int, keepdim: bool = False) -> Value:
    """Compute log(sum of exp), whose exponentials are those of distances from the largest value."""
    wide = x if is_floating(x) else op.Cast(x, to=ir.DataType.FLOAT.value)
    if not len(x.shape):
        return op.Identity(wide)
    sums = op.ReduceLogSumExp(
        op.Cast(wide, to=ir.DataType.DOUBLE.value), op.Constant(value_ints=_axes(x, dim)), keepdims=int(keepdim)
    )
    return op.CastLike(sums, wide)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    _ATEN.sum.default: _sum_of_all,
    _ATEN.sum.dim_IntList: _sum_of,
    _ATEN.logsumexp.default: _log_sum_exp,
}
