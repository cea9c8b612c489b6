"""`data` of a packed sequence in a captured program, as one operator, and another that makes a sequence of such values.

Eager has the values sorted by length, without padding. A captured program has those of all steps: it has more, in
another order. So what is computed of each by itself is right, and nothing else: `packed_check` holds programs to that.
Their number is a symbol of its own for the program, so that no other axis can be taken for theirs.
"""

from typing import Any, TypeAlias

import torch
from onnxscript import opset20 as op
from torch import Tensor

__all__ = ["DATA", "FILL", "translate_data", "translate_fill"]

Value: TypeAlias = Any  # an onnx_ir.Value; onnxscript types its operators by what they compute


@torch.library.custom_op("rnnserve::packed_data", mutates_args=())
def _data(steps: Tensor, lengths: Tensor, like: Tensor | None) -> Tensor:
    """Flatten steps (sequence, batch, …) to (values, …).

    Args:
        steps: Values of a packed sequence.
        lengths: (batch,) int64; whether two sequences are packed alike is told by them.
        like: Other data of as many values, (values, …), where there is some: the axis has the same symbol then.
    """
    del lengths, like
    return steps.flatten(0, 1).clone()


@_data.register_fake
def _data_shapes(steps: Tensor, lengths: Tensor, like: Tensor | None) -> Tensor:
    del lengths
    values = torch.library.get_ctx().new_dynamic_size(min=1) if like is None else like.shape[0]
    return steps.new_empty((values, *steps.shape[2:]))


@torch.library.custom_op("rnnserve::packed_fill", mutates_args=())
def _fill(data: Tensor, steps: Tensor, lengths: Tensor) -> Tensor:
    """Unflatten data (values, …) to (sequence, batch, …), the sizes of `steps`; lengths are (batch,) int64."""
    del lengths
    return data.reshape(*steps.shape[:2], *data.shape[1:]).clone()


@_fill.register_fake
def _fill_shapes(data: Tensor, steps: Tensor, lengths: Tensor) -> Tensor:
    del lengths
    return data.new_empty((*steps.shape[:2], *data.shape[1:]))


def translate_data(steps: Value, lengths: Value, like: Value = None) -> Value:
    """Translate to Reshape, which joins the first two axes."""
    del lengths, like
    joined: Value = op.Constant(value_ints=[-1])
    return op.Reshape(steps, op.Concat(joined, op.Shape(steps, start=2), axis=0))


def translate_fill(data: Value, steps: Value, lengths: Value) -> Value:
    """Translate to Reshape, which divides the first axis."""
    del lengths
    return op.Reshape(data, op.Concat(op.Shape(steps, end=2), op.Shape(data, start=1), axis=0))


DATA = torch.ops.rnnserve.packed_data.default
FILL = torch.ops.rnnserve.packed_fill.default
