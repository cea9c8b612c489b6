"""Variances and standard deviations in float64, as PyTorch computes them.

torch's translations square the deviations in float32: those of values below 1e-19 are 0 then, so that x / x.std() is
inf or nan where eager has numbers, and those of values above 1.8e19 are inf. PyTorch's kernel adds up in float64 and
rounds the result, whatever the module's own type (`WelfordOps` in aten/src/ATen/native/SharedReduceOps.h).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir
import torch

from rnnserve.export.operators.values import Value, op

__all__ = ["TRANSLATIONS"]

_ATEN = torch.ops.aten
_DOUBLE = ir.DataType.DOUBLE


def _moments(x: Value, dim: Sequence[int] | int | None, correction: float, keepdim: bool) -> tuple[Value, Value]:
    """Compute the variance and the mean over some axes, in float64.

    Args:
        x: Floats of any shape.
        dim: The axes; none for all.
        correction: Number that is subtracted from the number of values. Where nothing is left the divisor is 0: of one
            value the variance is nan, 0 / 0.
        keepdim: Whether the axes stay, with size 1.
    """
    wide = op.Cast(x, to=_DOUBLE.value)
    rank = len(x.shape)
    if not rank:
        return op.Div(op.Sub(wide, wide), _divisor(x, [], correction)), wide
    chosen = [dim] if isinstance(dim, int) else dim
    axes = sorted(axis % rank for axis in chosen) if chosen else list(range(rank))
    along: Value = op.Constant(value_ints=axes)
    centre = op.ReduceMean(wide, along, keepdims=1)
    deviation = op.Sub(wide, centre)
    squares = op.ReduceSum(op.Mul(deviation, deviation), along, keepdims=int(keepdim))
    return op.Div(squares, _divisor(x, axes, correction)), centre if keepdim else op.Squeeze(centre, along)


def _divisor(x: Value, axes: Sequence[int], correction: float) -> Value:
    """Compute the number of values along axes less the correction: a constant where their sizes are fixed."""
    sizes = [x.shape[axis] for axis in axes]
    if all(isinstance(size, int) for size in sizes):
        return op.Cast(op.Constant(value_float=max(math.prod(sizes) - correction, 0.0)), to=_DOUBLE.value)
    count = op.ReduceProd(op.Gather(op.Shape(x), op.Constant(value_ints=list(axes)), axis=0), keepdims=0)
    less = op.Sub(op.Cast(count, to=ir.DataType.FLOAT.value), op.Constant(value_float=float(correction)))
    return op.Cast(op.Max(less, op.Constant(value_float=0.0)), to=_DOUBLE.value)


def _var_correction(
    x: Value, dim: Sequence[int] | None = None, correction: float | None = None, keepdim: bool = False
) -> Value:
    return op.CastLike(_moments(x, dim, 1.0 if correction is None else correction, keepdim)[0], x)


def _std_correction(
    x: Value, dim: Sequence[int] | None = None, correction: float | None = None, keepdim: bool = False
) -> Value:
    return op.CastLike(op.Sqrt(_moments(x, dim, 1.0 if correction is None else correction, keepdim)[0]), x)


def _var_mean_correction(
    x: Value, dim: Sequence[int] | None = None, correction: float | None = None, keepdim: bool = False
) -> tuple[Value, Value]:
    variance, mean = _moments(x, dim, 1.0 if correction is None else correction, keepdim)
    return op.CastLike(variance, x), op.CastLike(mean, x)


def _std_mean_correction(
    x: Value, dim: Sequence[int] | None = None, correction: float | None = None, keepdim: bool = False
) -> tuple[Value, Value]:
    variance, mean = _moments(x, dim, 1.0 if correction is None else correction, keepdim)
    return op.CastLike(op.Sqrt(variance), x), op.CastLike(mean, x)


def _of_dims(compute: Callable[..., Any]) -> Callable[..., Any]:
    def translate(x: Value, dim: Sequence[int] | None, unbiased: bool = True, keepdim: bool = False) -> Any:  # noqa: ANN401 - one value or two
        return compute(x, dim, float(unbiased), keepdim)

    return translate


def _of_all(compute: Callable[..., Any]) -> Callable[..., Any]:
    def translate(x: Value, unbiased: bool = True) -> Any:  # noqa: ANN401 - one value or two
        return compute(x, None, float(unbiased))

    return translate


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    overload: translate
    for operator, compute in (
        (_ATEN.var, _var_correction),
        (_ATEN.std, _std_correction),
        (_ATEN.var_mean, _var_mean_correction),
        (_ATEN.std_mean, _std_mean_correction),
    )
    for overload, translate in (
        (operator.correction, compute),
        (operator.dim, _of_dims(compute)),
        (operator.default, _of_all(compute)),
    )
}
