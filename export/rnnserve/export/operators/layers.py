"""What torch translates wrongly at an edge: attention, normalisations, pooling, interpolation, sorting.

Attention without an axis of heads, and under a mask that hides every key of a query: eager gives zeros there. torch's
translation takes four axes only. It gives the mean of all values for a mask of booleans, since it adds float32's lowest
number to what is hidden, and NaN for a mask of floats that is -inf throughout.

Group and instance normalisation: torch's translation of both is InstanceNormalization, which onnxruntime computes from
the mean of squares: of values near 1e4 that differ by 1, four digits were left.

Interpolation by the nearest step: onnxruntime's Resize computes i / (k / n) for the step of n that the i-th of k
results takes, PyTorch i * (n / k), both in float32, and for one length in ten the floor of one is another step. With
`scale_factor` it computes the number of results in float32, too, and PyTorch in float64 (ATen/native/UpSample.h).
"""

from collections.abc import Callable, Sequence
from typing import Any

import onnx_ir as ir
import torch

from rnnserve.export.operators.graphs import Value, op
from rnnserve.export.torch_adapter import internal

_ATEN = torch.ops.aten
_PAIRS = 2  # axes of a mask that is the same for all rows: (queries, keys)


def _attention(
    query: Value, key: Value, value: Value, attn_mask: Value = None, *further: Value, **named: Value
) -> Value:
    """Weigh values by how keys fit queries, as torch translates it; zeros where a query sees no key."""
    # Here, since it takes 0.4 s, which torch has spent by now: it takes its translations from there.
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
    """Convolve over the last three axes. Without a bias, torch's translation writes a scalar, which can't run."""
    strides, pads, dilations = ([*some] * (3 // len(some)) for some in (stride, padding, dilation))
    inputs = [input, weight] if bias is None else [input, weight, bias]
    return op.Conv(*inputs, strides=strides, pads=pads * 2, dilations=dilations, group=groups)


def _with_axes(x: Value, places: Sequence[int]) -> Value:
    """Add axes of size 1, with the shape for the translation."""
    result = op.Unsqueeze(x, op.Constant(value_ints=places))
    sizes = list(x.shape)
    for at in places:
        sizes.insert(at, 1)
    result.type, result.shape = ir.TensorType(x.dtype), ir.Shape(sizes)
    return result


def _group_norm(
    x: Value, num_groups: int, weight: Value = None, bias: Value = None, eps: float = 1e-5, cudnn_enabled: bool = True
) -> Value:
    """Normalise (batch, channels, …) over each group of channels and all that follows."""
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
    """Normalise (batch, channels, …) over all that follows the channels, or by the running numbers."""
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


def _sort_stable(x: Value, stable: bool | None = None, dim: int = -1, descending: bool = False) -> tuple[Value, Value]:
    """Sort by TopK over a whole axis, which keeps equal values in their order."""
    del stable
    size = op.Gather(op.Shape(x), op.Constant(value_ints=[dim]))
    values, indices = op.TopK(x, size, axis=dim, largest=int(descending))
    return values, indices


def _squeeze(x: Value, dim: Sequence[int]) -> Value:
    """Leave out those of the axes that are 1, as PyTorch does: ONNX's Squeeze fails at others.

    A capture keeps an axis of any size, and the probing refuses it at 1.
    """
    rank = len(x.shape)
    of_one = sorted(axis for axis in {each % rank for each in dim} if x.shape[axis] == 1) if rank else []
    return op.Squeeze(x, op.Constant(value_ints=of_one)) if of_one else op.Identity(x)


def _pool(x: Value, output_size: Sequence[Any], *, largest: bool) -> Value:
    """Pool the last axes to 1, or leave them as they are: `refuse_operators` refuses other sizes.

    torch's exporter takes windows apart at the sample's size: of 3 results of 6 steps it made windows of 2 steps, and
    so 4 results of 8.
    """
    reduce = op.ReduceMax if largest else op.ReduceMean
    first = len(x.shape) - len(output_size)
    for axis, results in enumerate(output_size, first):
        if isinstance(results, int) and results == 1:
            x = reduce(x, op.Constant(value_ints=[axis]), keepdims=1)
    return x


def _pool_largest(x: Value, output_size: Sequence[Any]) -> tuple[Value, Value]:
    found = _pool(x, output_size, largest=True)
    return found, found  # `refuse_operators` has refused what uses the indices


_FLOAT, _DOUBLE, _INT64 = ir.DataType.FLOAT.value, ir.DataType.DOUBLE.value, ir.DataType.INT64.value


def _double(number: float) -> Value:
    return op.Constant(value=ir.tensor(number, dtype=ir.DataType.DOUBLE))


def _results(x: Value, axis: int, sizes: Value, factors: Sequence[float] | None) -> Value:
    """Give how many results an axis has, a scalar: as asked for, or the floor of its size times the factor."""
    position = axis - 2
    if sizes is None:
        assert factors is not None  # noqa: S101 - one of the two is given: F.interpolate sees to it
        size = op.Cast(op.Gather(op.Shape(x), op.Constant(value_int=axis), axis=0), to=_DOUBLE)
        exact = op.Mul(size, _double(factors[position]))
        return op.Cast(op.Floor(exact), to=_INT64)
    if isinstance(sizes, ir.Value):
        return op.Gather(sizes, op.Constant(value_int=position), axis=0)
    given = sizes[position]
    scalar = ir.tensor([], dtype=ir.DataType.INT64)  # the shape of one
    return op.Constant(value_int=given) if isinstance(given, int) else op.Reshape(given, op.Constant(value=scalar))


def _nearest(input: Value, output_size: Value = None, scale_factors: Sequence[float] | None = None) -> Value:
    """Take the step at floor(i * scale) of each axis after batch and channels, one axis after the other.

    PyTorch computes i * scale in float64 for float64, else in float32; the floor is float32's for float64, too. Images
    of float64 are the exception: by their memory format PyTorch has their scale in float64 or in float32.
    """
    to = _DOUBLE if input.dtype == ir.DataType.DOUBLE else _FLOAT
    result = input
    for axis in range(2, len(input.shape)):
        results = _results(input, axis, output_size, scale_factors)
        size = op.Gather(op.Shape(input), op.Constant(value_int=axis), axis=0)
        numbers = op.Cast(op.Range(op.Constant(value_int=0), results, op.Constant(value_int=1)), to=to)
        if scale_factors is not None and scale_factors[axis - 2] > 0:
            scale = op.Cast(_double(1.0 / scale_factors[axis - 2]), to=to)
        else:
            scale = op.Div(op.Cast(size, to=to), op.Cast(results, to=to))
        steps = op.Cast(op.Floor(op.Cast(op.Mul(numbers, scale), to=_FLOAT)), to=_INT64)
        result = op.Gather(result, op.Min(steps, op.Sub(size, op.Constant(value_int=1))), axis=axis)
        result.dtype, result.shape = input.dtype, ir.Shape([None] * len(input.shape))
    return result


def _nearest_of_arguments(self: Value, output_size: Value, *scales: float | None, **named: float | None) -> Value:
    given = [*scales, *named.values()]
    return _nearest(self, output_size, None if None in given or not given else [s for s in given if s])


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
        (_ATEN.upsample_nearest1d.vec, _ATEN.upsample_nearest2d.vec, _ATEN.upsample_nearest3d.vec), _nearest
    ),
    **dict.fromkeys(
        (_ATEN.upsample_nearest1d.default, _ATEN.upsample_nearest2d.default, _ATEN.upsample_nearest3d.default),
        _nearest_of_arguments,
    ),
}
