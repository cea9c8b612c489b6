"""Trimming to the longest row, as one operator: `pad_packed_sequence` without `total_length` does it in eager.

Its size is a matter of values, not of shapes, so the captured program carries a size of its own for it.
"""

from typing import Any

import torch
from onnxscript import opset20 as op
from torch import Tensor

__all__ = ["TRIM", "translate_trim"]


@torch.library.custom_op("rnnserve::trim", mutates_args=())
def _trim(steps: Tensor, lengths: Tensor) -> Tensor:
    """(sequence, batch, ...) cut to (max(lengths), batch, ...)."""
    return steps[: int(lengths.max())].clone()


@_trim.register_fake
def _trim_shapes(steps: Tensor, lengths: Tensor) -> Tensor:
    del lengths
    longest = torch.library.get_ctx().new_dynamic_size()
    return steps.new_empty((longest, *steps.shape[1:]))


def translate_trim(steps: Any, lengths: Any) -> Any:
    """Slice(steps, 0, max(lengths)) along the sequence axis."""
    longest = op.ReduceMax(lengths, op.Constant(value_ints=[0]), keepdims=1)
    return op.Slice(steps, op.Constant(value_ints=[0]), longest, op.Constant(value_ints=[0]))


TRIM = torch.ops.rnnserve.trim.default
