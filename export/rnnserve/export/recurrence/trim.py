"""Trimming to the longest row, as one operator: `pad_packed_sequence` without `total_length` does it in eager.

Its size is a matter of values, not of shapes, so the captured program carries a size of its own for it.
"""

from typing import Any, TypeAlias

import torch
from onnxscript import opset20 as op
from torch import Tensor

__all__ = ["TRIM", "translate_trim"]


Value: TypeAlias = Any  # an onnx_ir.Value; onnxscript's operators are typed by what they compute


@torch.library.custom_op("rnnserve::trim", mutates_args=())
def _trim(steps: Tensor, lengths: Tensor) -> Tensor:
    """(sequence, batch, ...) cut to (max(lengths), batch, ...)."""
    return steps[: int(lengths.max())].clone()


@_trim.register_fake
def _trim_shapes(steps: Tensor, lengths: Tensor) -> Tensor:
    del lengths
    longest = torch.library.get_ctx().new_dynamic_size(min=1)  # eager packs no empty rows
    return steps.new_empty((longest, *steps.shape[1:]))


def translate_trim(steps: Value, lengths: Value) -> Value:
    """Slice(steps, 0, max(lengths)) along the sequence axis."""
    first: Value = op.Constant(value_ints=[0])
    return op.Slice(steps, first, op.ReduceMax(lengths, first, keepdims=1), first)


TRIM = torch.ops.rnnserve.trim.default
