"""Running sums, products, maxima and logarithms of sums; all but sums as a loop of a few nodes over the steps.

torch's translation of logcumsumexp subtracts the largest value of the whole row, so that early steps become log(0)
where a later value is 104 larger: minGRU's parallel form was right at 500 steps and off by 1.3 at 1,500. Of the others
it has none. Sums and products are in float64 or int64, as PyTorch's: over 3,000 steps float32 loses three digits.
"""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
import torch

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.operators.values import Value, filled_without, is_floating, op
from rnnserve.export.torch_adapter import call_op

__all__ = ["TRANSLATIONS"]

_ATEN = torch.ops.aten
_DOUBLE, _INT64 = ir.DataType.DOUBLE, ir.DataType.INT64
_COMPARED = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.INT32, ir.DataType.INT64)
"""The types for which onnxruntime has Max and Min."""


class _Step:
    """The graph of one step: what it makes of the result so far and of the step's values."""

    def __init__(self, dtype: ir.DataType) -> None:
        self.dtype = dtype
        self.so_far = ir.Value(name="running/so_far", type=ir.TensorType(dtype))
        self.values = ir.Value(name="running/values", type=ir.TensorType(dtype))
        self._nodes: list[ir.Node] = []

    def __call__(self, operator: str, *inputs: ir.Value) -> ir.Value:
        return self._add(ir.node(operator, inputs))

    def number(self, number: float) -> ir.Value:
        """Make a constant."""
        return self._add(ir.node("Constant", [], {"value": ir.tensor(np.array(number, self.dtype.numpy()))}))

    def _add(self, node: ir.Node) -> ir.Value:
        node.outputs[0].name = f"running/{node.op_type}_{len(self._nodes)}"
        self._nodes.append(node)
        return node.outputs[0]

    def graph(self, result: ir.Value) -> ir.Graph:
        """Make the graph, whose result is carried on and also given for each step."""
        copy = self("Identity", result)
        for value in (result, copy):
            value.type = ir.TensorType(self.dtype)
        return ir.Graph([self.so_far, self.values], [result, copy], nodes=self._nodes, name="running")


_Combine: TypeAlias = Callable[[_Step], ir.Value]


def _running(x: Value, dim: int, dtype: ir.DataType, start: float, combine: _Combine) -> Value:
    """Combine the steps along an axis one after the other.

    Args:
        x: Values.
        dim: Axis of the steps.
        dtype: Type to compute in, which the results have.
        start: What the first step is combined with.
        combine: Makes the result of a step.
    """
    wide = op.Cast(x, to=dtype.value)
    rank = len(x.shape)
    if not rank:
        return wide
    axis, step = dim % rank, _Step(dtype)
    body = step.graph(combine(step))
    first = filled_without(axis, rank, x, op.CastLike(start, wide))
    # onnxscript has no call of an operator with two results and a graph; torch's own translations of loops use this.
    _, prefixes = call_op(
        "Scan",
        first,
        wide,
        _num_outputs=2,
        body=body,
        num_scan_inputs=1,
        scan_input_axes=[axis],
        scan_output_axes=[axis],
    )
    prefixes.type = ir.TensorType(dtype)  # the exporter would take it for a float
    return prefixes


def _totals(x: Value, dtype: int) -> tuple[ir.DataType, ir.DataType]:
    """Give the type of running sums and products, and the one that they are computed in."""
    result = x.dtype if dtype in (-1, None) else ir.DataType(dtype)
    if dtype in (-1, None) and not is_floating(x):
        result = _INT64
    return result, _DOUBLE if result.is_floating_point() else result


def _cumsum(x: Value, dim: int, dtype: int = -1) -> Value:
    result, inner = _totals(x, dtype)
    if inner not in (_DOUBLE, _INT64, ir.DataType.INT32):
        raise UnsupportedModule(f"cumsum to {result} has no form in onnxruntime: use dtype=torch.int64")
    if not len(x.shape):
        return op.Cast(x, to=result.value)
    return op.Cast(op.CumSum(op.Cast(x, to=inner.value), op.Constant(value_int=dim)), to=result.value)


def _cumprod(x: Value, dim: int, dtype: int = -1) -> Value:
    result, inner = _totals(x, dtype)
    inner = inner if inner == _DOUBLE else _INT64
    cast = op.Cast(x, to=result.value)
    cast.shape = x.shape
    products = _running(cast, dim, inner, 1, lambda step: step("Mul", step.so_far, step.values))
    return op.Cast(products, to=result.value)


def _logcumsumexp(x: Value, dim: int) -> Value:
    return op.CastLike(_running(x, dim, _DOUBLE, -math.inf, _log_add_exp), x)


def _log_add_exp(step: _Step) -> ir.Value:
    """Make log(exp(a) + exp(b)): the larger, and log(1 + exp(-distance)). Of equal infinities the distance is nan."""
    a, b = step.so_far, step.values
    exponential = step("Exp", step("Neg", step("Abs", step("Sub", a, b))))
    total = step("Add", step("Max", a, b), step("Log", step("Add", exponential, step.number(1.0))))
    return step("Where", step("Equal", a, b), step("Add", a, step.number(math.log(2.0))), total)


def _extreme(x: Value, dim: int, operator: str) -> tuple[Value, Value]:
    """Compute running maxima or minima, without their places: `refuse_operators` has refused what uses them."""
    inner = x.dtype if x.dtype in _COMPARED else ir.DataType.FLOAT
    bounds = None if inner.is_floating_point() else np.iinfo(inner.numpy())
    lowest, highest = (-math.inf, math.inf) if bounds is None else (int(bounds.min), int(bounds.max))
    start = lowest if operator == "Max" else highest
    found = op.CastLike(_running(x, dim, inner, start, lambda step: step(operator, step.so_far, step.values)), x)
    return found, found


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    _ATEN.cumsum.default: _cumsum,
    _ATEN.cumprod.default: _cumprod,
    _ATEN.logcumsumexp.default: _logcumsumexp,
    _ATEN.cummax.default: lambda x, dim: _extreme(x, dim, "Max"),
    _ATEN.cummin.default: lambda x, dim: _extreme(x, dim, "Min"),
}
