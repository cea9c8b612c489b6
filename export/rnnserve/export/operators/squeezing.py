"""Axes that are left out where their size is 1, as PyTorch does: others stay, and ONNX's Squeeze fails at them."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from rnnserve.export.operators.values import Value, op

__all__ = ["TRANSLATIONS"]


def _squeeze(x: Value, dim: int) -> Value:
    return _squeeze_several(x, [dim])


def _squeeze_several(x: Value, dim: Sequence[int]) -> Value:
    """Leave out those of the axes that are 1; a capture keeps an axis of any size, and the probing refuses it at 1."""
    rank = len(x.shape)
    of_one = sorted(axis for axis in {each % rank for each in dim} if x.shape[axis] == 1) if rank else []
    return op.Squeeze(x, op.Constant(value_ints=of_one)) if of_one else op.Identity(x)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.squeeze.dim: _squeeze,
    torch.ops.aten.squeeze.dims: _squeeze_several,
}
