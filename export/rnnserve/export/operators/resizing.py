"""Interpolation as gathers, by PyTorch's own arithmetic: onnxruntime's Resize divides in another order.

Resize computes i / (k / n) for the step of n that the i-th of k results takes, PyTorch i * (n / k), both in float32,
and for one length in ten the floor of one is another step: 35 steps to 10 took step 27 for 28. With `scale_factor` it
computes the number of results in float32, too, and PyTorch in float64 (aten/src/ATen/native/UpSample.h).
"""

from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir
import torch

from rnnserve.export.operators.graphs import Value, op

__all__ = ["TRANSLATIONS"]

_ATEN = torch.ops.aten
_FLOAT, _DOUBLE, _INT64 = ir.DataType.FLOAT.value, ir.DataType.DOUBLE.value, ir.DataType.INT64.value
_Take = Callable[[Value, int, Value, Value, float | None], Value]


def _length(x: Value, axis: int) -> Value:
    """Give the size of an axis, a scalar."""
    return op.Gather(op.Shape(x), op.Constant(value_int=axis), axis=0)


def _results(x: Value, axis: int, position: int, sizes: Value, factors: Sequence[float] | None) -> Value:
    """Give how many results an axis has, a scalar: as asked for, or the floor of its size times the factor."""
    if sizes is None:
        assert factors is not None  # noqa: S101 - one of the two is given: F.interpolate sees to it
        exact = op.Mul(op.Cast(_length(x, axis), to=_DOUBLE), _double(factors[position]))
        return op.Cast(op.Floor(exact), to=_INT64)
    if isinstance(sizes, ir.Value):
        return op.Gather(sizes, op.Constant(value_int=position), axis=0)
    size = sizes[position]
    return op.Constant(value_int=size) if isinstance(size, int) else op.Reshape(size, _scalar())


def _scalar() -> Value:
    return op.Constant(value=ir.tensor([], dtype=ir.DataType.INT64))


def _double(number: float) -> Value:
    return op.Constant(value=ir.tensor(number, dtype=ir.DataType.DOUBLE))


def _computed_in(x: Value) -> int:
    """The type that PyTorch computes places in: float64 for float64, else float32."""
    return _DOUBLE if x.dtype == ir.DataType.DOUBLE else _FLOAT


def _positions(results: Value, to: int) -> Value:
    return op.Cast(op.Range(op.Constant(value_int=0), results, op.Constant(value_int=1)), to=to)


def _scale(size: Value, results: Value, factor: float | None, to: int) -> Value:
    """Give the distance of neighbouring results in steps of the axis."""
    if factor is not None and factor > 0:
        return op.Cast(_double(1.0 / factor), to=to)
    return op.Div(op.Cast(size, to=to), op.Cast(results, to=to))


def _last(size: Value) -> Value:
    return op.Sub(size, op.Constant(value_int=1))


def _nearest(x: Value, axis: int, size: Value, results: Value, factor: float | None) -> Value:
    """Take the step at floor(i * scale); the floor is float32's for float64, too.

    Images of float64 are the exception: by their memory format PyTorch has their scale in float64 or in float32.
    """
    to = _computed_in(x)
    places = op.Mul(_positions(results, to), _scale(size, results, factor, to))
    steps = op.Cast(op.Floor(op.Cast(places, to=_FLOAT)), to=_INT64)
    return op.Gather(x, op.Min(steps, _last(size)), axis=axis)


def _middles(results: Value, size: Value, factor: float | None, to: int) -> Value:
    """Give (i + 0.5) * scale - 0.5, whose product PyTorch does not round: it is fused with the subtraction."""
    half = _double(0.5)
    scale = op.Cast(_scale(size, results, factor, to), to=_DOUBLE)
    return op.Cast(op.Sub(op.Mul(op.Add(_positions(results, _DOUBLE), half), scale), half), to=to)


def _linear(align_corners: bool) -> _Take:
    """Make what weighs the two steps beside each place."""

    def take(x: Value, axis: int, size: Value, results: Value, factor: float | None) -> Value:
        to = _computed_in(x)
        positions = _positions(results, to)
        if align_corners:
            # One result is the first step: i is 0, and the divisor must not be.
            gaps = op.Max(_last(results), op.Constant(value_int=1))
            places = op.Mul(positions, op.Div(op.Cast(_last(size), to=to), op.Cast(gaps, to=to)))
        else:
            places = op.Max(_middles(results, size, factor, to), op.Cast(_double(0.0), to=to))
        before = op.Min(op.Cast(op.Floor(places), to=_INT64), _last(size))
        after = op.Min(op.Add(before, op.Constant(value_int=1)), _last(size))
        share = op.Min(op.Sub(places, op.Cast(before, to=to)), op.Cast(_double(1.0), to=to))
        rank = len(x.shape)
        if axis < rank - 1:
            share = op.Unsqueeze(share, op.Constant(value_ints=list(range(1, rank - axis))))
        share = op.CastLike(share, x)
        rest = op.Sub(op.CastLike(1.0, x), share)
        return op.Add(op.Mul(rest, op.Gather(x, before, axis=axis)), op.Mul(share, op.Gather(x, after, axis=axis)))

    return take


def _resize(x: Value, sizes: Value, factors: Sequence[float] | None, take: _Take) -> Value:
    """Resize all axes after batch and channels, one after the other."""
    result = x
    for position in range(len(x.shape) - 2):
        axis = position + 2
        results = _results(x, axis, position, sizes, factors)
        result = take(result, axis, _length(x, axis), results, None if factors is None else factors[position])
        result.dtype, result.shape = x.dtype, ir.Shape([None] * len(x.shape))
    return result


def _nearest_of_list(input: Value, output_size: Value = None, scale_factors: Sequence[float] | None = None) -> Value:
    return _resize(input, output_size, scale_factors, _nearest)


def _nearest_of_arguments(self: Value, output_size: Value, *scales: float | None, **named: float | None) -> Value:
    given = [*scales, *named.values()]
    return _resize(self, output_size, None if None in given or not given else [s for s in given if s], _nearest)


def _linear_vec(
    input: Value,
    output_size: Value = None,
    align_corners: bool = False,
    scale_factors: Sequence[float] | None = None,
) -> Value:
    return _resize(input, output_size, scale_factors, _linear(align_corners))


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    getattr(_ATEN, name).vec: _linear_vec
    for name in ("upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d")
}
for _dimensions in (1, 2, 3):
    _packet = getattr(_ATEN, f"upsample_nearest{_dimensions}d")
    TRANSLATIONS[_packet.vec], TRANSLATIONS[_packet.default] = _nearest_of_list, _nearest_of_arguments
