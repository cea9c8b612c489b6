"""Running sums, and running logarithms of sums: the latter as a loop, which exponentiates distances only.

torch's translation of logcumsumexp subtracts the largest value of the whole row, so that early steps become log(0)
where a later value is 104 larger: minGRU's parallel form was right at 500 steps and off by 1.3 at 1,500.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch.onnx._internal.exporter._torchlib.ops.hop import call_op

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.operators.values import Value, filled_without, is_floating, op

__all__ = ["TRANSLATIONS"]

_DOUBLE = ir.DataType.DOUBLE


def _cumsum(x: Value, dim: int, dtype: int = -1) -> Value:
    """Compute sums of prefixes, of floats in float64 as PyTorch does: over 3,000 steps float32 loses three digits."""
    result = x.dtype if dtype in (-1, None) else ir.DataType(dtype)
    if dtype in (-1, None) and not is_floating(x):
        result = ir.DataType.INT64
    inner = ir.DataType.DOUBLE if result.is_floating_point() else result
    if inner not in (ir.DataType.DOUBLE, ir.DataType.INT64, ir.DataType.INT32):
        raise UnsupportedModule(f"cumsum to {result} has no form in onnxruntime: use dtype=torch.int64")
    if x.shape is not None and len(x.shape) == 0:
        return op.Cast(x, to=result.value)
    sums = op.CumSum(op.Cast(x, to=inner.value), op.Constant(value_int=dim))
    return op.Cast(sums, to=result.value)


def _logcumsumexp(x: Value, dim: int) -> Value:
    """Compute log(sum of exp) of each prefix along an axis, in float64 as PyTorch does."""
    if not x.shape:
        return op.Identity(x)
    axis = dim % len(x.shape)
    wide = op.Cast(x, to=_DOUBLE.value)
    start = filled_without(axis, len(x.shape), x, op.CastLike(-math.inf, wide))
    # onnxscript has no call of an operator with two results and a graph; torch's own translations of loops use this.
    _, prefixes = call_op(
        "Scan",
        start,
        wide,
        _num_outputs=2,
        body=_log_add_exp(),
        num_scan_inputs=1,
        scan_input_axes=[axis],
        scan_output_axes=[axis],
    )
    return op.CastLike(prefixes, x)


def _log_add_exp() -> ir.Graph:
    """Make the body of the loop: log(exp(state) + exp(step)) as the larger and log(1 + exp(-distance))."""
    state, step = (ir.Value(name=f"logcumsumexp/{name}", type=ir.TensorType(_DOUBLE)) for name in ("state", "step"))
    one, log_2 = (
        ir.node("Constant", [], {"value": ir.tensor(np.array(number))}, name=f"logcumsumexp/{name}")
        for name, number in (("one", 1.0), ("log_2", math.log(2.0)))
    )
    nodes = [one, log_2]

    def add(operator: str, *inputs: ir.Value) -> ir.Value:
        node = ir.node(operator, inputs)
        node.outputs[0].name = f"logcumsumexp/{operator}_{len(nodes)}"
        nodes.append(node)
        return node.outputs[0]

    for node in nodes:
        node.outputs[0].name = f"{node.name}_value"
    exponential = add("Exp", add("Neg", add("Abs", add("Sub", state, step))))
    total = add("Add", add("Max", state, step), add("Log", add("Add", exponential, one.outputs[0])))
    # Of equal infinities the difference is nan.
    result = add("Where", add("Equal", state, step), add("Add", state, log_2.outputs[0]), total)
    copy = add("Identity", result)
    for value in (result, copy):
        value.type = ir.TensorType(_DOUBLE)
    return ir.Graph([state, step], [result, copy], nodes=nodes, name="logcumsumexp")


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.cumsum.default: _cumsum,
    torch.ops.aten.logcumsumexp.default: _logcumsumexp,
}
