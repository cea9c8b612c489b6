"""Group normalisation by the deviations from the mean.

torch's translation is InstanceNormalization, which onnxruntime computes from the mean of squares: of values near 1e4
that differ by 1, four digits were left.
"""

from collections.abc import Callable
from typing import Any

import torch

from rnnserve.export.operators.values import Value, op

__all__ = ["TRANSLATIONS"]

_ATEN = torch.ops.aten


def _group_norm(
    x: Value, num_groups: int, weight: Value = None, bias: Value = None, eps: float = 1e-5, cudnn_enabled: bool = True
) -> Value:
    """Normalise (batch, channels, …) over each group of channels and all that follows.

    Args:
        x: (batch, channels, …).
        num_groups: How many groups the channels form.
        weight: (channels,), or None.
        bias: (channels,), or None.
        eps: What is added to the variance.
        cudnn_enabled: Of no meaning here.
    """
    del cudnn_enabled
    grouped = op.Reshape(x, op.Constant(value_ints=[0, num_groups, -1]))
    axes: Value = op.Constant(value_ints=[-1])
    deviation = op.Sub(grouped, op.ReduceMean(grouped, axes))
    variance = op.ReduceMean(op.Mul(deviation, deviation), axes)
    normalised = op.Div(deviation, op.Sqrt(op.Add(variance, eps)))
    result = op.Reshape(normalised, op.Shape(x))
    behind = op.Constant(value_ints=list(range(1, len(x.shape) - 1)))
    for parameter, apply in ((weight, op.Mul), (bias, op.Add)):
        if parameter is not None:
            result = apply(result, op.Unsqueeze(parameter, behind) if len(x.shape) > 2 else parameter)
    return result


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {_ATEN.group_norm.default: _group_norm}
