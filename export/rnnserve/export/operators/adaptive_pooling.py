"""Adaptive pooling over windows that are computed where the graph runs, from the size that an axis has there.

torch's exporter takes the windows apart at the sample's size: of 3 results of 6 steps it made windows of 2 steps, and
so 4 results of 8. Window i of k over n steps is from floor(i * n / k) to ceil((i + 1) * n / k).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from rnnserve.export.operators.values import Value, op

__all__ = ["TRANSLATIONS"]

_ATEN = torch.ops.aten


def _whole(number: int) -> Value:
    return op.Constant(value_int=number)


def _windows(size: Value, count: Value) -> tuple[Value, Value, Value]:
    """Give the windows of an axis.

    Args:
        size: Number of its steps, a scalar.
        count: Number of windows, likewise.

    Returns:
        Steps (results, longest), beyond a window's end any; where they are of the window, likewise; and how many each
        window has, (results,).
    """
    one, last_axis = _whole(1), op.Constant(value_ints=[-1])
    number = op.Range(_whole(0), count, one)
    start = op.Div(op.Mul(number, size), count)
    end = op.Div(op.Add(op.Mul(op.Add(number, one), size), op.Sub(count, one)), count)
    length = op.Sub(end, start)
    # Windows differ by one step in their length; of the lengths the longest is that of some window.
    offsets = op.Range(_whole(0), op.ReduceMax(length, keepdims=0), one)
    steps = op.Add(op.Unsqueeze(start, last_axis), offsets)
    inside = op.Less(offsets, op.Unsqueeze(length, last_axis))
    return op.Min(steps, op.Sub(size, one)), inside, length


def _behind(value: Value, axes: int) -> Value:
    """Add axes after the last one."""
    return op.Unsqueeze(value, op.Constant(value_ints=list(range(-axes, 0)))) if axes else value


def _pool(x: Value, output_size: Sequence[Any], *, largest: bool) -> Value:
    """Pool the last axes, one after the other."""
    rank = len(x.shape)
    for axis, results in zip(range(rank - len(output_size), rank), output_size, strict=True):
        if isinstance(results, int) and results == 1:
            reduce = op.ReduceMax if largest else op.ReduceMean
            x = reduce(x, op.Constant(value_ints=[axis]), keepdims=1)
        else:
            x = _pool_axis(x, rank, axis, results, largest=largest)
    return x


def _pool_axis(x: Value, rank: int, axis: int, results: int | Value, *, largest: bool) -> Value:
    """Pool one axis to a number of results, which may be a size: in PyTorch None stands for the axis's own."""
    size = op.Gather(op.Shape(x), _whole(axis), axis=0)
    steps, inside, length = _windows(size, _whole(results) if isinstance(results, int) else results)
    taken = op.Gather(x, steps, axis=axis)  # (…, results, longest, …)
    outside = op.CastLike(-math.inf if largest else 0.0, x)
    kept = op.Where(_behind(inside, rank - axis - 1), taken, outside)
    kept.dtype = x.dtype
    over = op.Constant(value_ints=[axis + 1])
    if largest:
        found = op.ReduceMax(kept, over, keepdims=0)
    else:
        total = op.ReduceSum(kept, over, keepdims=0)
        found = op.Div(total, _behind(op.CastLike(length, x), rank - axis - 1))
    found.dtype = x.dtype
    return found


def _average(x: Value, output_size: Sequence[Any]) -> Value:
    return _pool(x, output_size, largest=False)


def _largest(x: Value, output_size: Sequence[Any]) -> tuple[Value, Value]:
    found = _pool(x, output_size, largest=True)
    return found, found  # `refuse_operators` has refused what uses the indices


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    _ATEN.adaptive_avg_pool1d.default: _average,
    _ATEN.adaptive_avg_pool2d.default: _average,
    _ATEN._adaptive_avg_pool2d.default: _average,  # noqa: SLF001 - its name in a decomposed program
    _ATEN.adaptive_avg_pool3d.default: _average,
    _ATEN.adaptive_max_pool1d.default: _largest,
    _ATEN.adaptive_max_pool2d.default: _largest,
    _ATEN.adaptive_max_pool3d.default: _largest,
}
