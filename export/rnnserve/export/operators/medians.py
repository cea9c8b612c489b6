"""Medians and the k-th smallest values, as entries of the sorted values; torch has no translation of them.

Which place they name among equal values PyTorch leaves open; `refusals` refuses those places where they are used.
"""

import math
from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import torch

from rnnserve.export.operators.values import Value, is_floating, op

__all__ = ["TRANSLATIONS"]

_ATEN = torch.ops.aten
_SORTED = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.INT32, ir.DataType.INT64)
"""The types for which onnxruntime has TopK."""


def _sorted(x: Value, axis: int) -> tuple[Value, Value, Value, Value]:
    """Sort values, nan as the largest; give them and their places, how many along the axis are numbers, and all."""
    values = x if x.dtype in _SORTED else op.Cast(x, to=ir.DataType.FLOAT.value)
    size = op.Gather(op.Shape(x), op.Constant(value_ints=[axis]))
    numbers = size
    if is_floating(x):
        is_nan = op.IsNaN(values)
        values = op.Where(is_nan, op.CastLike(math.inf, values), values)
        count = op.ReduceSum(op.Cast(is_nan, to=ir.DataType.INT64.value), op.Constant(value_ints=[axis]), keepdims=1)
        numbers = op.Sub(size, count)
    found, places = op.TopK(values, size, axis=axis, largest=0)
    return found, places, numbers, size


def _chosen(x: Value, axis: int, keepdim: bool, found: Value, places: Value, at: Value, is_nan: Value) -> Any:  # noqa: ANN401 - a pair
    """Take the values at an index of the sorted ones, or nan; and their places."""
    size = op.Shape(op.ReduceMax(places, op.Constant(value_ints=[axis]), keepdims=1))
    at = op.Expand(at, size)
    value = op.CastLike(op.GatherElements(found, at, axis=axis), x)
    if is_nan is not None:
        value = op.Where(is_nan, op.CastLike(math.nan, x), value)
    place = op.GatherElements(places, at, axis=axis)
    if keepdim:
        return value, place
    along: Value = op.Constant(value_ints=[axis])
    return op.Squeeze(value, along), op.Squeeze(place, along)


def _half(count: Value) -> Value:
    """Compute the index of the lower of the two in the middle; 0 of none."""
    one: Value = op.Constant(value_ints=[1])
    return op.Div(op.Max(op.Sub(count, one), op.Constant(value_ints=[0])), op.Constant(value_ints=[2]))


def _median_dim(x: Value, dim: int, keepdim: bool = False) -> tuple[Value, Value]:
    if not len(x.shape):
        return op.Identity(x), op.Constant(value_int=0)
    axis = dim % len(x.shape)
    found, places, numbers, size = _sorted(x, axis)
    is_nan = op.Less(numbers, size) if is_floating(x) else None
    pair: tuple[Value, Value] = _chosen(x, axis, keepdim, found, places, _half(size), is_nan)
    return pair


def _nanmedian_dim(x: Value, dim: int, keepdim: bool = False) -> tuple[Value, Value]:
    if not len(x.shape) or not is_floating(x):
        return _median_dim(x, dim, keepdim)
    axis = dim % len(x.shape)
    found, places, numbers, _ = _sorted(x, axis)
    is_nan = op.Equal(numbers, op.Constant(value_ints=[0]))
    pair: tuple[Value, Value] = _chosen(x, axis, keepdim, found, places, _half(numbers), is_nan)
    return pair


def _kthvalue(x: Value, k: int, dim: int = -1, keepdim: bool = False) -> tuple[Value, Value]:
    if not len(x.shape):
        return op.Identity(x), op.Constant(value_int=0)
    axis = dim % len(x.shape)
    found, places, numbers, _ = _sorted(x, axis)
    is_nan = op.Less(numbers, op.Constant(value_ints=[k])) if is_floating(x) else None
    pair: tuple[Value, Value] = _chosen(x, axis, keepdim, found, places, op.Constant(value_ints=[k - 1]), is_nan)
    return pair


def _of_all(compute: Callable[..., Any]) -> Callable[[Value], Value]:
    def translate(x: Value) -> Value:
        if not len(x.shape):
            return op.Identity(x)
        flat = op.Reshape(x, op.Constant(value_ints=[-1]))
        if is_floating(x) and not all(isinstance(size, int) for size in x.shape):
            # The median of no values is nan, as that of one nan.
            one: Value = op.Constant(value_ints=[1])
            missing = op.Sub(one, op.Min(op.Shape(flat), one))
            flat = op.Concat(flat, op.Expand(op.CastLike(math.nan, x), missing), axis=0)
        flat.type, flat.shape = ir.TensorType(x.dtype), ir.Shape([None])  # the exporter infers them afterwards
        return compute(flat, 0)[0]

    return translate


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    _ATEN.median.dim: _median_dim,
    _ATEN.median.default: _of_all(_median_dim),
    _ATEN.nanmedian.dim: _nanmedian_dim,
    _ATEN.nanmedian.default: _of_all(_nanmedian_dim),
    _ATEN.kthvalue.default: _kthvalue,
}
