"""Diagonals by their indices.

torch's translation multiplies by a mask and adds up, so that an inf or a nan beside the diagonal is nan in it.
"""

from collections.abc import Callable
from typing import Any

import torch

from rnnserve.export.operators.values import Value, op

__all__ = ["TRANSLATIONS"]


def _diagonal(x: Value, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Value:
    """Take x[…, i, i + offset] of the two axes for every i; the diagonal becomes the last axis."""
    rank = len(x.shape)
    first, second = dim1 % rank, dim2 % rank
    rest = [axis for axis in range(rank) if axis not in (first, second)]
    moved = op.Transpose(x, perm=[*rest, first, second])  # (…, rows, columns)
    shape = op.Shape(moved)
    rows, columns = (op.Gather(shape, op.Constant(value_ints=[axis])) for axis in (rank - 2, rank - 1))
    row, column = max(-offset, 0), max(offset, 0)
    length = op.Min(op.Sub(rows, op.Constant(value_ints=[row])), op.Sub(columns, op.Constant(value_ints=[column])))
    length = op.Squeeze(op.Max(length, op.Constant(value_ints=[0])))
    steps = op.Range(op.Constant(value_int=0), length, op.Constant(value_int=1))
    start = op.Add(op.Mul(columns, op.Constant(value_ints=[row])), op.Constant(value_ints=[column]))
    indices = op.Add(op.Mul(steps, op.Add(columns, op.Constant(value_ints=[1]))), start)
    flat = op.Reshape(moved, op.Constant(value_ints=[*[0] * len(rest), -1]))
    return op.Gather(flat, indices, axis=-1)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.diagonal.default: _diagonal,
    torch.ops.aten.diagonal_copy.default: _diagonal,
}
