"""Layers that torch translates wrongly in some cases: attention, normalization, pooling, interpolation, sorting.

Attention without an axis of heads, or with a mask that hides every key from a query: eager returns zeros for such a
query. torch's translation accepts only four axes. For a boolean mask it returns the mean of all values, because it adds
float32's lowest number to hidden keys. For a float mask that is -inf everywhere it returns NaN.

Group and instance normalization: torch translates both to InstanceNormalization, which onnxruntime computes from the
mean of squares. For values near 1e4 that differ by 1, only four digits were left.

Interpolation: to find the source step of result i when k results are made from n steps, onnxruntime's Resize computes i
/ (k / n) and PyTorch computes i * (n / k), both in float32. For one length in ten, their floors differ. With
`scale_factor`, onnxruntime also computes the number of results in float32, but PyTorch uses float64
(aten/src/ATen/native/UpSample.h).
"""

from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir
import torch

from rnnserve.export.operators.graphs import Value, op
from rnnserve.export.torch_adapter import internal

__all__ = ["TRANSLATIONS"]

_ATEN = torch.ops.aten
_PAIRS = 2  # axes of a mask shared by all rows: (queries, keys)


def _attention(
    query: Value, key: Value, value: Value, attn_mask: Value = None, *further: Value, **named: Value
) -> Value:
    """Compute attention with torch's translation, but return zeros if a query sees no key."""
    # Imported here because the import takes 0.4 s. By now torch has imported its own translations from there.
    from onnxscript.function_libs.torch_lib.ops.nn import aten_scaled_dot_product_attention

    missing = {3: [1], 2: [0, 1]}.get(len(query.shape))
    if missing is not None:
        given = [_with_axes(each, missing) for each in (query, key, value)]
        has_batch = attn_mask is not None and len(attn_mask.shape) > _PAIRS
        mask = _with_axes(attn_mask, missing) if has_batch else attn_mask
        return op.Squeeze(_attention(*given, mask, *further, **named), op.Constant(value_ints=missing))
    if attn_mask is None:
        return aten_scaled_dot_product_attention(query, key, value, None, *further, **named)
    zero, keys = op.CastLike(0.0, query), op.Constant(value_ints=[-1])
    if attn_mask.dtype == ir.DataType.BOOL:
        seen = op.ReduceMax(op.Cast(attn_mask, to=ir.DataType.INT32.value), keys)
        sees = op.Cast(seen, to=ir.DataType.BOOL.value)
    else:
        sees = op.Not(op.Equal(op.ReduceMax(attn_mask, keys), op.CastLike(float("-inf"), attn_mask)))
        attn_mask = op.Where(sees, attn_mask, op.CastLike(0.0, attn_mask))
    weighed = aten_scaled_dot_product_attention(query, key, value, attn_mask, *further, **named)
    return op.Where(sees, weighed, zero)


def _conv3d(
    input: Value,
    weight: Value,
    bias: Value = None,
    stride: Sequence[int] = (1,),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    groups: int = 1,
) -> Value:
    """Convolve over the last three axes. Without a bias, torch's translation adds a scalar, which can't run."""
    strides, pads, dilations = ([*some] * (3 // len(some)) for some in (stride, padding, dilation))
    inputs = [input, weight] if bias is None else [input, weight, bias]
    return op.Conv(*inputs, strides=strides, pads=pads * 2, dilations=dilations, group=groups)


def _with_axes(x: Value, places: Sequence[int]) -> Value:
    """Add axes of size 1 and set the shape that the translation needs."""
    result = op.Unsqueeze(x, op.Constant(value_ints=places))
    sizes = list(x.shape)
    for at in places:
        sizes.insert(at, 1)
    result.type, result.shape = ir.TensorType(x.dtype), ir.Shape(sizes)
    return result


def _group_norm(
    x: Value, num_groups: int, weight: Value = None, bias: Value = None, eps: float = 1e-5, cudnn_enabled: bool = True
) -> Value:
    """Normalize (batch, channels, …) over each group of channels and all later axes."""
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
    """Normalize (batch, channels, …) over all axes after the channels, or with the running statistics."""
    del momentum, cudnn_enabled
    rank = len(input.shape)
    if use_input_stats:
        normalised = _normalised(input, op.Constant(value_ints=list(range(2, rank))), eps)
    else:
        mean, variance = (_of_channels(given, rank) for given in (running_mean, running_var))
        normalised = op.Div(op.Sub(input, mean), op.Sqrt(op.Add(variance, op.CastLike(eps, input))))
    return _weighed(normalised, rank, weight, bias)


def _normalised(x: Value, axes: Value, eps: float) -> Value:
    """Subtract the mean over some axes, and divide by the standard deviation.

    The mean is corrected by the mean of the deviations, because ReduceMean adds values one by one in float32. For 3,000
    times 3.7 it is off by 1e-4. Dividing by sqrt(eps) then turns a deviation of 0 into 2e-3.
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
    """Reshape (channels,) to broadcast over the axes after the channels."""
    return op.Unsqueeze(parameter, op.Constant(value_ints=list(range(1, rank - 1)))) if rank > 2 else parameter


def _sort_stable(x: Value, stable: bool | None = None, dim: int = -1, descending: bool = False) -> tuple[Value, Value]:
    """Sort with TopK over the whole axis, which keeps the order of equal values."""
    del stable
    size = op.Gather(op.Shape(x), op.Constant(value_ints=[dim]))
    values, indices = op.TopK(x, size, axis=dim, largest=int(descending))
    return values, indices


def _squeeze(x: Value, dim: Sequence[int]) -> Value:
    """Remove the listed axes that have size 1, as PyTorch does. ONNX's Squeeze fails for other sizes.

    A dynamic axis stays. `value_trials` then refuses the module at size 1.
    """
    rank = len(x.shape)
    of_one = sorted(axis for axis in {each % rank for each in dim} if x.shape[axis] == 1) if rank else []
    return op.Squeeze(x, op.Constant(value_ints=of_one)) if of_one else op.Identity(x)


def _pool(x: Value, output_size: Sequence[Any], *, largest: bool) -> Value:
    """Pool the last axes to 1, to their own size, or to a divisor of a fixed size.

    torch's exporter fixes the windows at the sample's size. For 3 results from 6 steps it made windows of 2 steps, so 8
    steps gave 4 results. `refuse_operators` refuses the other cases.
    """
    reduce = op.ReduceMax if largest else op.ReduceMean
    fixed, rank = x.shape, len(x.shape)
    for axis, results in zip(range(rank - len(output_size), rank), output_size, strict=True):
        if isinstance(results, int) and results == 1:
            x = reduce(x, op.Constant(value_ints=[axis]), keepdims=1)
        elif isinstance(results, int) and results != fixed[axis]:
            windows = op.Constant(value_ints=[results, fixed[axis] // results])
            sizes = op.Concat(op.Shape(x, end=axis), windows, op.Shape(x, start=axis + 1), axis=0)
            x = reduce(op.Reshape(x, sizes), op.Constant(value_ints=[axis + 1]), keepdims=0)
    return x


def _pool_largest(x: Value, output_size: Sequence[Any]) -> tuple[Value, Value]:
    found = _pool(x, output_size, largest=True)
    return found, found  # `refuse_operators` has refused uses of the indices


_FLOAT, _DOUBLE, _INT64 = ir.DataType.FLOAT.value, ir.DataType.DOUBLE.value, ir.DataType.INT64.value
_Take = Callable[[Value, int, Value, Value, float | None], Value]


def _length(x: Value, axis: int) -> Value:
    """Return the size of an axis, a scalar."""
    return op.Gather(op.Shape(x), op.Constant(value_int=axis), axis=0)


def _results(x: Value, axis: int, position: int, sizes: Value, factors: Sequence[float] | None) -> Value:
    """Return the number of results along an axis, a scalar: the requested size, or floor(size * factor)."""
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
    """Return the type in which PyTorch computes positions: float64 for float64 inputs, else float32."""
    return _DOUBLE if x.dtype == ir.DataType.DOUBLE else _FLOAT


def _positions(results: Value, to: int) -> Value:
    return op.Cast(op.Range(op.Constant(value_int=0), results, op.Constant(value_int=1)), to=to)


def _scale(size: Value, results: Value, factor: float | None, to: int) -> Value:
    """Return the distance between neighboring results, in steps of the axis."""
    if factor is not None and factor > 0:
        return op.Cast(_double(1.0 / factor), to=to)
    return op.Div(op.Cast(size, to=to), op.Cast(results, to=to))


def _last(size: Value) -> Value:
    return op.Sub(size, op.Constant(value_int=1))


def _nearest(x: Value, axis: int, size: Value, results: Value, factor: float | None) -> Value:
    """Take the step at floor(i * scale). PyTorch takes the floor in float32, even for float64.

    Images of float64 are an exception: depending on the memory format, PyTorch computes their scale in float64 or
    float32.
    """
    to = _computed_in(x)
    places = op.Mul(_positions(results, to), _scale(size, results, factor, to))
    steps = op.Cast(op.Floor(op.Cast(places, to=_FLOAT)), to=_INT64)
    return op.Gather(x, op.Min(steps, _last(size)), axis=axis)


def _middles(results: Value, size: Value, factor: float | None, to: int) -> Value:
    """Return (i + 0.5) * scale - 0.5, without rounding the product, because PyTorch fuses both operations."""
    half = _double(0.5)
    scale = op.Cast(_scale(size, results, factor, to), to=_DOUBLE)
    return op.Cast(op.Sub(op.Mul(op.Add(_positions(results, _DOUBLE), half), scale), half), to=to)


def _linear(align_corners: bool) -> _Take:
    """Make the function that interpolates between the two steps around each position."""

    def take(x: Value, axis: int, size: Value, results: Value, factor: float | None) -> Value:
        to = _computed_in(x)
        positions = _positions(results, to)
        if align_corners:
            # A single result is the first step: i is 0, and the divisor must not be 0.
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
    _ATEN.scaled_dot_product_attention.default: _attention,
    _ATEN.conv3d.default: _conv3d,
    _ATEN.group_norm.default: _group_norm,
    _ATEN.instance_norm.default: _instance_norm,
    _ATEN.sort.stable: _sort_stable,
    _ATEN.squeeze.dim: lambda x, dim: _squeeze(x, [dim]),
    _ATEN.squeeze.dims: _squeeze,
    **dict.fromkeys(
        (
            _ATEN.adaptive_avg_pool1d.default,
            _ATEN.adaptive_avg_pool2d.default,
            internal("_adaptive_avg_pool2d"),
            _ATEN.adaptive_avg_pool3d.default,
        ),
        lambda x, output_size: _pool(x, output_size, largest=False),
    ),
    **dict.fromkeys(
        (
            _ATEN.adaptive_max_pool1d.default,
            _ATEN.adaptive_max_pool2d.default,
            _ATEN.adaptive_max_pool3d.default,
        ),
        _pool_largest,
    ),
    **dict.fromkeys(
        (_ATEN.upsample_linear1d.vec, _ATEN.upsample_bilinear2d.vec, _ATEN.upsample_trilinear3d.vec), _linear_vec
    ),
    **dict.fromkeys(
        (_ATEN.upsample_nearest1d.vec, _ATEN.upsample_nearest2d.vec, _ATEN.upsample_nearest3d.vec), _nearest_of_list
    ),
    **dict.fromkeys(
        (_ATEN.upsample_nearest1d.default, _ATEN.upsample_nearest2d.default, _ATEN.upsample_nearest3d.default),
        _nearest_of_arguments,
    ),
}
