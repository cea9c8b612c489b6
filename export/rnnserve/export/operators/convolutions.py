"""Convolution over three axes: torch's translation writes a scalar where there is no bias, which no run takes."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from rnnserve.export.operators.values import Value, op

__all__ = ["TRANSLATIONS"]

_AXES = 3


def _conv3d(
    input: Value,
    weight: Value,
    bias: Value = None,
    stride: Sequence[int] = (1,),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    groups: int = 1,
) -> Value:
    """Convolve over the last three axes.

    Args:
        input: (batch, channels, depth, height, width).
        weight: (results, channels / groups, depth, height, width).
        bias: (results,), or None.
        stride: Steps between windows, one number or three.
        padding: Zeros before and after each axis, likewise.
        dilation: Steps between the values of a window, likewise.
        groups: Number of groups that the channels form.
    """
    strides, pads, dilations = ([*some] * (_AXES // len(some)) for some in (stride, padding, dilation))
    inputs = [input, weight] if bias is None else [input, weight, bias]
    return op.Conv(*inputs, strides=strides, pads=pads * 2, dilations=dilations, group=groups)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {torch.ops.aten.conv3d.default: _conv3d}
