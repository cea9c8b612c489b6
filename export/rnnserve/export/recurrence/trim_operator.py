"""Trimming to the longest row, as one operator: `pad_packed_sequence` without `total_length` does it in eager.

The size of the result depends on values, not on shapes, so the captured program has a symbol of its own for it.
"""

from typing import Any, TypeAlias

import torch
from onnxscript import opset20 as op
from torch import Tensor

__all__ = ["TRIM", "translate_trim"]


Value: TypeAlias = Any  # an onnx_ir.Value; onnxscript types its operators by what they compute


@torch.library.custom_op("rnnserve::trim", mutates_args=())
def _trim(steps: Tensor, lengths: Tensor) -> Tensor:
    """Cut steps (sequence, batch, …) to (max(lengths), batch, …); lengths are (batch,) int64."""
    return steps[: int(lengths.max())].clone()


@_trim.register_fake
def _trim_shapes(steps: Tensor, lengths: Tensor) -> Tensor:
    del lengths
    longest = torch.library.get_ctx().new_dynamic_size(min=1)  # eager refuses empty rows
    return steps.new_empty((longest, *steps.shape[1:]))


def translate_trim(steps: Value, lengths: Value) -> Value:
    """Translate to Slice(steps, 0, max(lengths)) along the sequence axis."""
    first: Value = op.Constant(value_ints=[0])
    return op.Slice(steps, first, op.ReduceMax(lengths, first, keepdims=1), first)


TRIM = torch.ops.rnnserve.trim.default
