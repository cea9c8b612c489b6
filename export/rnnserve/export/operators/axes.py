"""Axes that are sorted, left out or pooled."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from rnnserve.export.operators.values import Value, op
from rnnserve.export.torch_adapter import internal

__all__ = ["TRANSLATIONS"]

_ATEN = torch.ops.aten


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


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    _ATEN.sort.stable: _sort_stable,
    _ATEN.squeeze.dim: lambda x, dim: _squeeze(x, [dim]),
    _ATEN.squeeze.dims: _squeeze,
    **dict.fromkeys(
        (
            _ATEN.adaptive_avg_pool1d.default,
            _ATEN.adaptive_avg_pool2d.default,
            internal("_adaptive_avg_pool2d"),
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
}
