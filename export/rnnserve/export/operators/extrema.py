"""Running products, and running maxima and minima with their places, as loops of a few nodes over the steps.

torch has no translation of them. The running product is in float64 or int64, as PyTorch's: the float32 one of 3,000
factors loses three digits. Of equal values PyTorch takes the later place; a nan stays, and a later nan is the place.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch.onnx._internal.exporter._torchlib.ops.hop import call_op

from rnnserve.export.operators.values import Value, filled_without, is_floating, op

__all__ = ["TRANSLATIONS"]

_ATEN = torch.ops.aten
_COMPARED = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.INT32, ir.DataType.INT64)
"""The types that onnxruntime compares with >= and <=."""


class _Body:
    """The graph of one step."""

    def __init__(self, name: str, inputs: Mapping[str, ir.DataType]) -> None:
        self._name = name
        self._nodes: list[ir.Node] = []
        self.inputs = [ir.Value(name=f"{name}/{key}", type=ir.TensorType(dtype)) for key, dtype in inputs.items()]

    def __call__(self, operator: str, *inputs: ir.Value) -> ir.Value:
        node = ir.node(operator, inputs)
        node.outputs[0].name = f"{self._name}/{operator}_{len(self._nodes)}"
        self._nodes.append(node)
        return node.outputs[0]

    def graph(self, results: Sequence[tuple[ir.Value, ir.DataType]]) -> ir.Graph:
        """Make the graph, whose results are carried on and also given for each step."""
        copies = [(self("Identity", value), dtype) for value, dtype in results]
        outputs = [*results, *copies]
        for value, dtype in outputs:
            value.type = ir.TensorType(dtype)
        return ir.Graph(self.inputs, [value for value, _ in outputs], nodes=self._nodes, name=self._name)


def _scan(body: ir.Graph, states: Sequence[Value], scanned: Sequence[tuple[Value, int]], axis: int) -> list[Value]:
    """Run the body over the steps; give its results for each step, along the same axis."""
    results = call_op(
        "Scan",
        *states,
        *(value for value, _ in scanned),
        _num_outputs=2 * len(states),
        body=body,
        num_scan_inputs=len(scanned),
        scan_input_axes=[along for _, along in scanned],
        scan_output_axes=[axis] * len(states),
    )
    for result, value in zip(results, body.outputs, strict=True):
        result.type = value.type  # the exporter would take each for a float
    return list(results[len(states) :])


def _cumprod(x: Value, dim: int, dtype: int = -1) -> Value:
    """Compute products of prefixes, of integers in int64."""
    result = x.dtype if dtype in (-1, None) else ir.DataType(dtype)
    if dtype in (-1, None) and not is_floating(x):
        result = ir.DataType.INT64
    inner = ir.DataType.DOUBLE if result.is_floating_point() else ir.DataType.INT64
    wide = op.Cast(op.Cast(x, to=result.value), to=inner.value)
    if not len(x.shape):
        return op.Cast(wide, to=result.value)
    axis = dim % len(x.shape)
    body = _Body("cumprod", {"state": inner, "step": inner})
    start = filled_without(axis, len(x.shape), x, op.CastLike(1, wide))
    product = body("Mul", *body.inputs)
    (products,) = _scan(body.graph([(product, inner)]), [start], [(wide, axis)], axis)
    return op.Cast(products, to=result.value)


def _extreme(x: Value, dim: int, *, largest: bool) -> tuple[Value, Value]:
    if not len(x.shape):
        return op.Identity(x), op.Constant(value_int=0)
    axis = dim % len(x.shape)
    inner = x.dtype if x.dtype in _COMPARED else ir.DataType.FLOAT
    values = op.Cast(x, to=inner.value)
    # The first step is taken in any case: it is no further from the end than what is compared with it.
    start = filled_without(axis, len(x.shape), x, op.CastLike(_end(inner, largest=not largest), values))
    place = filled_without(axis, len(x.shape), x, op.Constant(value_int=0))
    size = op.Squeeze(op.Gather(op.Shape(x), op.Constant(value_ints=[axis])))
    numbers = op.Range(op.Constant(value_int=0), size, op.Constant(value_int=1))
    name = "cummax" if largest else "cummin"
    body = _Body(name, {"best": inner, "place": ir.DataType.INT64, "step": inner, "number": ir.DataType.INT64})
    best, where, step, number = body.inputs
    taken = body("GreaterOrEqual" if largest else "LessOrEqual", step, best)
    if inner.is_floating_point():
        # The comparison with a nan is false; a nan in the step is taken, and one that was taken before stays.
        taken = body("Or", taken, body("IsNaN", step))
    results = [(body("Where", taken, step, best), inner), (body("Where", taken, number, where), ir.DataType.INT64)]
    found, places = _scan(body.graph(results), [start, place], [(values, axis), (numbers, 0)], axis)
    return op.CastLike(found, x), places


def _end(dtype: ir.DataType, *, largest: bool) -> float | int:
    """Give the largest number of a type, or its smallest."""
    if dtype.is_floating_point():
        return math.inf if largest else -math.inf
    bounds = np.iinfo(dtype.numpy())
    return int(bounds.max if largest else bounds.min)


def _cummax(x: Value, dim: int) -> tuple[Value, Value]:
    return _extreme(x, dim, largest=True)


def _cummin(x: Value, dim: int) -> tuple[Value, Value]:
    return _extreme(x, dim, largest=False)


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    _ATEN.cumprod.default: _cumprod,
    _ATEN.cummax.default: _cummax,
    _ATEN.cummin.default: _cummin,
}
