"""Stable sorting: ONNX's TopK over a whole axis, which keeps equal values in their order."""

from collections.abc import Callable
from typing import Any

import torch

from rnnserve.export.operators.values import Value, op

__all__ = ["TRANSLATIONS"]

_ATEN = torch.ops.aten


def _sort_stable(x: Value, stable: bool | None = None, dim: int = -1, descending: bool = False) -> tuple[Value, Value]:
    del stable  # equal values stay in their order anyway
    axis: Value = op.Constant(value_ints=[dim])
    size = op.Gather(op.Shape(x), axis)
    values, indices = op.TopK(x, size, axis=dim, largest=int(descending))
    return values, indices


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {_ATEN.sort.stable: _sort_stable}
