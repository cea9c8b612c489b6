"""Reductions: sums, variances, any and all, distances and running sums.

Sums: PyTorch adds in cascades (aten/src/ATen/native/cpu/SumKernel.cpp), so its error grows with the logarithm of the
number of values. onnxruntime adds one value after the other. Over 3,000 steps its error was ten times eager's, so long
sums use float64 here. Sums over axes of a fixed size, such as features, are short and keep their type.

Variances: torch's translations square the deviations in float32. For values below 1e-19 the squares become 0, so x /
x.std() is inf or nan although eager returns numbers. For values above 1.8e19 they become inf. PyTorch's kernel
accumulates in float64 and rounds the result, whatever the module's type (`WelfordOps` in
aten/src/ATen/native/SharedReduceOps.h).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import onnx_ir as ir
import torch

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.operators.graphs import Value, is_floating, op
from rnnserve.export.torch_adapter import internal

_ATEN = torch.ops.aten
_DOUBLE = ir.DataType.DOUBLE
_SMALL = (ir.DataType.BOOL, ir.DataType.INT8, ir.DataType.INT16, ir.DataType.INT32, ir.DataType.UINT8)
_LONG = 1024
"""A sum over at least this many values along fixed axes counts as long, like a sum over steps."""

_Dim: TypeAlias = Sequence[int] | int | None
"""Axes of a reduction, as PyTorch passes them; None for all axes."""


def _axes(x: Value, dim: _Dim) -> list[int]:
    rank = len(x.shape)
    chosen = [dim] if isinstance(dim, int) else dim
    return sorted(axis % rank for axis in chosen) if chosen else list(range(rank))


def _count(x: Value, axes: Sequence[int]) -> int | None:
    """Return the number of values along axes, or None if it depends on the request."""
    sizes = [x.shape[axis] for axis in axes]
    return math.prod(sizes) if all(isinstance(size, int) for size in sizes) else None


def _sum(x: Value, dim: _Dim = None, keepdim: bool = False, dtype: int = -1) -> Value:
    """Compute sums over axes. Integers are summed in int64, as in PyTorch."""
    result = x.dtype if dtype in (-1, None) else ir.DataType(dtype)
    if dtype in (-1, None) and x.dtype in _SMALL:
        result = ir.DataType.INT64
    if not len(x.shape):
        return op.Cast(x, to=result.value)
    axes = _axes(x, dim)
    count = _count(x, axes)
    inner = _DOUBLE if result.is_floating_point() and (count is None or count >= _LONG) else result
    sums = op.ReduceSum(op.Cast(x, to=inner.value), op.Constant(value_ints=axes), keepdims=int(keepdim))
    return op.Cast(sums, to=result.value)


def _log_sum_exp(x: Value, dim: _Dim, keepdim: bool = False) -> Value:
    """Compute log(sum of exp) from the distances to the largest value."""
    wide = x if is_floating(x) else op.Cast(x, to=ir.DataType.FLOAT.value)
    if not len(x.shape):
        return op.Identity(wide)
    along = op.Constant(value_ints=_axes(x, dim))
    return op.CastLike(op.ReduceLogSumExp(op.Cast(wide, to=_DOUBLE.value), along, keepdims=int(keepdim)), wide)


def _any(x: Value, dim: _Dim = None, keepdim: bool = False) -> Value:
    """Whether any value is true. It counts, because onnxruntime's maximum of no values is the lowest integer, not 0."""
    flags = op.Cast(op.Cast(x, to=ir.DataType.BOOL.value), to=ir.DataType.INT32.value)
    if len(x.shape):
        flags = op.ReduceSum(flags, op.Constant(value_ints=_axes(x, dim)), keepdims=int(keepdim))
    return op.Greater(flags, op.CastLike(0, flags))


def _all(x: Value, dim: _Dim = None, keepdim: bool = False) -> Value:
    is_false = op.Not(op.Cast(x, to=ir.DataType.BOOL.value))
    is_false.shape = x.shape
    return op.Not(_any(is_false, dim, keepdim))


def _moments(x: Value, dim: _Dim, correction: float | None, keepdim: bool) -> tuple[Value, Value]:
    """Compute the variance and the mean over some axes, in float64."""
    correction = 1.0 if correction is None else correction
    wide = op.Cast(x, to=_DOUBLE.value)
    if not len(x.shape):
        return op.Div(op.Sub(wide, wide), _divisor(x, [], correction)), wide
    axes = _axes(x, dim)
    along: Value = op.Constant(value_ints=axes)
    centre = op.ReduceMean(wide, along, keepdims=1)
    deviation = op.Sub(wide, centre)
    squares = op.ReduceSum(op.Mul(deviation, deviation), along, keepdims=int(keepdim))
    return op.Div(squares, _divisor(x, axes, correction)), centre if keepdim else op.Squeeze(centre, along)


def _divisor(x: Value, axes: Sequence[int], correction: float) -> Value:
    """Compute the number of values along axes minus the correction: a constant if the sizes are fixed."""
    count = _count(x, axes)
    if count is not None:
        return op.Cast(op.Constant(value_float=max(count - correction, 0.0)), to=_DOUBLE.value)
    sizes = op.ReduceProd(op.Gather(op.Shape(x), op.Constant(value_ints=list(axes)), axis=0), keepdims=0)
    less = op.Sub(op.Cast(sizes, to=ir.DataType.FLOAT.value), op.Constant(value_float=float(correction)))
    return op.Cast(op.Max(less, op.Constant(value_float=0.0)), to=_DOUBLE.value)


def _spread(*, root: bool, with_mean: bool) -> list[Callable[..., Any]]:
    """Make the translations of var, std, var_mean or std_mean: with a correction, with axes, and over all values."""

    def correction(x: Value, dim: _Dim = None, correction: float | None = None, keepdim: bool = False) -> Any:  # noqa: ANN401 - one value or two
        variance, mean = _moments(x, dim, correction, keepdim)
        found = op.CastLike(op.Sqrt(variance) if root else variance, x)
        return (found, op.CastLike(mean, x)) if with_mean else found

    return [
        correction,
        lambda x, dim, unbiased=True, keepdim=False: correction(x, dim, float(unbiased), keepdim),
        lambda x, unbiased=True: correction(x, None, float(unbiased)),
    ]


def _cdist(x: Value, y: Value, p: float = 2.0, compute_mode: int | None = None) -> Value:  # noqa: ARG001 - of the operator
    """Compute all pairwise distances from differences, for any number of points.

    From 26 points on, torch computes them from products, which lose the digits of small distances.
    """
    if p not in (1, 2):
        raise UnsupportedModule(
            f"cdist with p={p:g} cannot be exported, only p=1 and p=2. Compute it from differences: d = (x[..., :, "
            "None, :] - y[..., None, :, :]).abs(), and d.amax(-1) for inf, or (d**p).sum(-1) ** (1 / p)"
        )
    apart = op.Sub(op.Unsqueeze(x, op.Constant(value_ints=[-2])), op.Unsqueeze(y, op.Constant(value_ints=[-3])))
    sizes = op.Mul(apart, apart) if p == 2 else op.Abs(apart)
    total = op.ReduceSum(sizes, op.Constant(value_ints=[-1]), keepdims=0)
    return op.Sqrt(total) if p == 2 else total


def _cumsum(x: Value, dim: int, dtype: int = -1) -> Value:
    """Compute running sums, in float64 or in integers."""
    result = x.dtype if dtype in (-1, None) else ir.DataType(dtype)
    if dtype in (-1, None) and not is_floating(x):
        result = ir.DataType.INT64
    inner = _DOUBLE if result.is_floating_point() else result
    if inner not in (_DOUBLE, ir.DataType.INT64, ir.DataType.INT32):
        raise UnsupportedModule(f"cumsum to {result} is missing in onnxruntime. Use dtype=torch.int64")
    if not len(x.shape):
        return op.Cast(x, to=result.value)
    return op.Cast(op.CumSum(op.Cast(x, to=inner.value), op.Constant(value_int=dim)), to=result.value)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    _ATEN.sum.default: lambda x, dtype=-1: _sum(x, dtype=dtype),
    _ATEN.sum.dim_IntList: _sum,
    _ATEN.logsumexp.default: _log_sum_exp,
    **dict.fromkeys((_ATEN.any.default, _ATEN.any.dim, _ATEN.any.dims), _any),
    **dict.fromkeys((_ATEN.all.default, _ATEN.all.dim, _ATEN.all.dims), _all),
    **{
        getattr(getattr(_ATEN, name), form): translate
        for name in ("var", "std", "var_mean", "std_mean")
        for form, translate in zip(
            ("correction", "dim", "default"),
            _spread(root=name.startswith("std"), with_mean=name.endswith("_mean")),
            strict=True,
        )
    },
    _ATEN.cdist.default: _cdist,
    internal("_cdist_forward"): _cdist,
    _ATEN.cumsum.default: _cumsum,
}
