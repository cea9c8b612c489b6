"""Group and instance normalisation by the deviations from the mean.

torch's translation of both is InstanceNormalization, which onnxruntime computes from the mean of squares: of values
near 1e4 that differ by 1, four digits were left.
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
        num_groups: Number of groups that the channels form.
        weight: (channels,), or None.
        bias: (channels,), or None.
        eps: Number that is added to the variance.
        cudnn_enabled: Choice of a library, without a meaning here.
    """
    del cudnn_enabled
    grouped = op.Reshape(x, op.Constant(value_ints=[0, num_groups, -1]))
    normalised = _normalised(grouped, op.Constant(value_ints=[-1]), eps)
    return _weighed(op.Reshape(normalised, op.Shape(x)), len(x.shape), weight, bias)


def _instance_norm(
    input: Value,
    weight: Value = None,
    bias: Value = None,
    running_mean: Value = None,
    running_var: Value = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    cudnn_enabled: bool = True,
) -> Value:
    """Normalise (batch, channels, …) over all that follows the channels.

    Args:
        input: (batch, channels, …).
        weight: (channels,), or None.
        bias: (channels,), or None.
        running_mean: (channels,), or None.
        running_var: (channels,), or None.
        use_input_stats: Whether mean and variance are those of the input; else the running ones are taken.
        momentum: Weight of running numbers, without a meaning here.
        eps: Number that is added to the variance.
        cudnn_enabled: Choice of a library, without a meaning here.
    """
    del momentum, cudnn_enabled
    rank = len(input.shape)
    if use_input_stats:
        normalised = _normalised(input, op.Constant(value_ints=list(range(2, rank))), eps)
    else:
        mean, variance = (_of_channels(given, rank) for given in (running_mean, running_var))
        normalised = op.Div(op.Sub(input, mean), op.Sqrt(op.Add(variance, op.CastLike(eps, input))))
    return _weighed(normalised, rank, weight, bias)


def _normalised(x: Value, axes: Value, eps: float) -> Value:
    """Subtract the mean over some axes, and divide by the deviation.

    The mean is corrected by that of the deviations from it. ReduceMean adds up in float32, one after the other: of
    3,000 times 3.7 it is off by 1e-4, which 1 / sqrt(eps) makes 2e-3 of what is 0.
    """
    deviation = op.Sub(x, op.ReduceMean(x, axes))
    deviation = op.Sub(deviation, op.ReduceMean(deviation, axes))
    variance = op.ReduceMean(op.Mul(deviation, deviation), axes)
    return op.Div(deviation, op.Sqrt(op.Add(variance, op.CastLike(eps, x))))


def _weighed(x: Value, rank: int, weight: Value, bias: Value) -> Value:
    for parameter, apply in ((weight, op.Mul), (bias, op.Add)):
        if parameter is not None:
            x = apply(x, _of_channels(parameter, rank))
    return x


def _of_channels(parameter: Value, rank: int) -> Value:
    """Give (channels,) the axes after the channels."""
    return op.Unsqueeze(parameter, op.Constant(value_ints=list(range(1, rank - 1)))) if rank > 2 else parameter


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    _ATEN.group_norm.default: _group_norm,
    _ATEN.instance_norm.default: _instance_norm,
}
