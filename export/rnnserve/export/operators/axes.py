"""Axes that are sorted, left out, pooled or resized.

Resizing to the nearest step by PyTorch's own arithmetic: onnxruntime's Resize computes i / (k / n) for the step of n
that the i-th of k results takes, PyTorch i * (n / k), both in float32, and for one length in ten the floor of one is
another step: 35 steps to 10 took step 27 for 28. With `scale_factor` it computes the number of results in float32, too,
and PyTorch in float64 (aten/src/ATen/native/UpSample.h).
"""

from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir
import torch

from rnnserve.export.operators.values import Value, op

__all__ = ["TRANSLATIONS"]

_ATEN = torch.ops.aten
_FLOAT, _DOUBLE, _INT64 = ir.DataType.FLOAT.value, ir.DataType.DOUBLE.value, ir.DataType.INT64.value


def _whole(number: int) -> Value:
    return op.Constant(value_int=number)


def _sort_stable(x: Value, stable: bool | None = None, dim: int = -1, descending: bool = False) -> tuple[Value, Value]:
    """Sort by TopK over a whole axis, which keeps equal values in their order."""
    del stable
    size = op.Gather(op.Shape(x), op.Constant(value_ints=[dim]))
    values, indices = op.TopK(x, size, axis=dim, largest=int(descending))
    return values, indices


def _squeeze(x: Value, dim: Sequence[int]) -> Value:
    """Leave out those of the axes that are 1, as PyTorch does: ONNX's Squeeze fails at others.

    A capture keeps an axis of any size, and the probing refuses it at 1.
    """
    rank = len(x.shape)
    of_one = sorted(axis for axis in {each % rank for each in dim} if x.shape[axis] == 1) if rank else []
    return op.Squeeze(x, op.Constant(value_ints=of_one)) if of_one else op.Identity(x)


def _pool(x: Value, output_size: Sequence[Any], *, largest: bool) -> Value:
    """Pool the last axes to 1, to their own size, or to a divisor of a fixed size: `refuse_operators` refuses the rest.

    torch's exporter takes windows apart at the sample's size: of 3 results of 6 steps it made windows of 2 steps, and
    so 4 results of 8.
    """
    reduce = op.ReduceMax if largest else op.ReduceMean
    fixed, rank = x.shape, len(x.shape)
    for axis, results in zip(range(rank - len(output_size), rank), output_size, strict=True):
        if isinstance(results, int) and results == 1:
            x = reduce(x, op.Constant(value_ints=[axis]), keepdims=1)
        elif isinstance(results, int) and results != fixed[axis]:
            windows = op.Constant(value_ints=[results, fixed[axis] // results])
            sizes = op.Concat(op.Shape(x, end=axis), windows, op.Shape(x, start=axis + 1), axis=0)
            x = reduce(op.Reshape(x, sizes), op.Constant(value_ints=[axis + 1]), keepdims=0)
    return x


def _pool_largest(x: Value, output_size: Sequence[Any]) -> tuple[Value, Value]:
    found = _pool(x, output_size, largest=True)
    return found, found  # `refuse_operators` has refused what uses the indices


def _results(size: Value, position: int, sizes: Value, factors: Sequence[float] | None) -> Value:
    """Give how many results an axis has, a scalar: as asked for, or the floor of its size times the factor."""
    if sizes is None:
        assert factors is not None  # noqa: S101 - one of the two is given: F.interpolate sees to it
        factor = op.Constant(value=ir.tensor(factors[position], dtype=ir.DataType.DOUBLE))
        return op.Cast(op.Floor(op.Mul(op.Cast(size, to=_DOUBLE), factor)), to=_INT64)
    if isinstance(sizes, ir.Value):
        return op.Gather(sizes, _whole(position), axis=0)
    given = sizes[position]
    scalar = op.Constant(value=ir.tensor([], dtype=ir.DataType.INT64))
    return _whole(given) if isinstance(given, int) else op.Reshape(given, scalar)


def _nearest(x: Value, sizes: Value, factors: Sequence[float] | None) -> Value:
    """Take the steps at floor(i * scale) of all axes after batch and channels, one axis after the other.

    Places are in float32, or in float64 for float64, whose floor is float32's, too.
    """
    to = _DOUBLE if x.dtype == ir.DataType.DOUBLE else _FLOAT
    result = x
    for position in range(len(x.shape) - 2):
        size = op.Gather(op.Shape(x), _whole(position + 2), axis=0)
        results = _results(size, position, sizes, factors)
        if factors is not None and factors[position] > 0:
            scale = op.Cast(op.Constant(value=ir.tensor(1.0 / factors[position], dtype=ir.DataType.DOUBLE)), to=to)
        else:
            scale = op.Div(op.Cast(size, to=to), op.Cast(results, to=to))
        places = op.Mul(op.Cast(op.Range(_whole(0), results, _whole(1)), to=to), scale)
        steps = op.Cast(op.Floor(op.Cast(places, to=_FLOAT)), to=_INT64)
        result = op.Gather(result, op.Min(steps, op.Sub(size, _whole(1))), axis=position + 2)
        result.dtype, result.shape = x.dtype, ir.Shape([None] * len(x.shape))
    return result


def _nearest_of_list(input: Value, output_size: Value = None, scale_factors: Sequence[float] | None = None) -> Value:
    return _nearest(input, output_size, scale_factors)


def _nearest_of_arguments(self: Value, output_size: Value, *scales: float | None, **named: float | None) -> Value:
    given = [*scales, *named.values()]
    return _nearest(self, output_size, None if None in given or not given else [s for s in given if s])


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    _ATEN.sort.stable: _sort_stable,
    _ATEN.squeeze.dim: lambda x, dim: _squeeze(x, [dim]),
    _ATEN.squeeze.dims: _squeeze,
    **dict.fromkeys(
        (
            _ATEN.adaptive_avg_pool1d.default,
            _ATEN.adaptive_avg_pool2d.default,
            _ATEN._adaptive_avg_pool2d.default,  # noqa: SLF001 - its name in a decomposed program
            _ATEN.adaptive_avg_pool3d.default,
        ),
        lambda x, output_size: _pool(x, output_size, largest=False),
    ),
    **dict.fromkeys(
        (
            _ATEN.adaptive_max_pool1d.default,
            _ATEN.adaptive_max_pool2d.default,
            _ATEN.adaptive_max_pool3d.default,
        ),
        _pool_largest,
    ),
    **dict.fromkeys(
        (_ATEN.upsample_nearest1d.vec, _ATEN.upsample_nearest2d.vec, _ATEN.upsample_nearest3d.vec), _nearest_of_list
    ),
    **dict.fromkeys(
        (_ATEN.upsample_nearest1d.default, _ATEN.upsample_nearest2d.default, _ATEN.upsample_nearest3d.default),
        _nearest_of_arguments,
    ),
}
