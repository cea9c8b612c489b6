"""Whether any, or all, of the values along axes are true: counted, which is right of an axis without values, too.

torch's translations take the largest and the smallest of integers. Of no values onnxruntime's largest is the lowest
integer, which is true.
"""

from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir
import torch

from rnnserve.export.operators.values import Value, op

__all__ = ["TRANSLATIONS"]

_ATEN = torch.ops.aten


def _is_any(x: Value, dim: Sequence[int] | int | None = None, keepdim: bool = False) -> Value:
    return op.Greater(_count(op.Cast(x, to=ir.DataType.BOOL.value), len(x.shape), dim, keepdim), _zero())


def _are_all(x: Value, dim: Sequence[int] | int | None = None, keepdim: bool = False) -> Value:
    is_false = op.Not(op.Cast(x, to=ir.DataType.BOOL.value))
    return op.Equal(_count(is_false, len(x.shape), dim, keepdim), _zero())


def _count(flags: Value, rank: int, dim: Sequence[int] | int | None, keepdim: bool) -> Value:
    """Count what is true along axes, or along all where none is named."""
    numbers = op.Cast(flags, to=ir.DataType.INT32.value)
    if not rank:
        return numbers
    chosen = [dim] if isinstance(dim, int) else list(dim or range(rank))
    axes: Value = op.Constant(value_ints=sorted(axis % rank for axis in chosen))
    return op.ReduceSum(numbers, axes, keepdims=int(keepdim))


def _zero() -> Value:
    zero: Value = op.Cast(op.Constant(value_int=0), to=ir.DataType.INT32.value)
    return zero


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    overload: translate
    for operator, translate in ((_ATEN.any, _is_any), (_ATEN.all, _are_all))
    for overload in (operator.default, operator.dim, operator.dims)
}
