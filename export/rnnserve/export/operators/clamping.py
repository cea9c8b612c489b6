"""Clamping on one side: onnxruntime's Clip without a bound takes the largest finite number for it, so inf is lost.

A mask of -inf became -3.4e38, and inf / clamp(inf, min=eps), a norm's, became inf where eager has nan.
"""

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import torch

from rnnserve.export.operators.values import Value, op

__all__ = ["TRANSLATIONS"]

_ATEN = torch.ops.aten

_OF_MAX = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.INT32, ir.DataType.INT64)
"""The types for which onnxruntime has Max and Min; it has Clip for the small integers, which have no inf."""


def _clamp(x: Value, min: float | None = None, max: float | None = None) -> Value:
    low, high = (None if bound is None else op.CastLike(bound, x) for bound in (min, max))
    if low is not None and high is not None:
        # Where the bounds cross, PyTorch takes the upper one; ONNX leaves it open.
        return op.Min(op.Max(x, low), high) if x.dtype in _OF_MAX else op.Clip(x, low, high)
    if x.dtype not in _OF_MAX:
        return op.Clip(x, low, high)
    return op.Max(x, low) if low is not None else op.Min(x, high)


def _clamp_min(x: Value, min: float) -> Value:
    return _clamp(x, min=min)


def _clamp_max(x: Value, max: float) -> Value:
    return _clamp(x, max=max)


def _clamp_tensor(x: Value, min: Value = None, max: Value = None) -> Value:
    result = x if min is None else op.Max(x, op.CastLike(min, x))
    return result if max is None else op.Min(result, op.CastLike(max, x))


def _clamp_min_tensor(x: Value, min: Value) -> Value:
    return _clamp_tensor(x, min=min)


def _clamp_max_tensor(x: Value, max: Value) -> Value:
    return _clamp_tensor(x, max=max)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    _ATEN.clamp.default: _clamp,
    _ATEN.clamp_min.default: _clamp_min,
    _ATEN.clamp_max.default: _clamp_max,
    _ATEN.clamp.Tensor: _clamp_tensor,
    _ATEN.clamp_min.Tensor: _clamp_min_tensor,
    _ATEN.clamp_max.Tensor: _clamp_max_tensor,
}
