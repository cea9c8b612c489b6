"""Sums and products of integers, exactly: onnxruntime's ReduceSum and ReduceProd of int64 compute in float64.

So digits beyond 2 ** 53 are lost, and sums that overflow stay at the largest integer, where PyTorch's wrap round.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch.onnx._internal.exporter._torchlib.ops.hop import call_op

from rnnserve.export.operators.nodes_before import NodesBefore
from rnnserve.export.operators.values import Value, filled_without, is_floating, op

__all__ = ["TRANSLATIONS", "sum_integers_exactly"]

_INT64 = ir.DataType.INT64
_HALF = 1 << 32
_SMALL = (ir.DataType.BOOL, ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT16, ir.DataType.INT32)
"""Types whose sums, of fewer than 2 ** 21 of them, float64 holds."""


def sum_integers_exactly(model: ir.Model) -> None:
    """Add the upper and the lower halves of int64 by themselves, in place; of either float64 holds the sum."""
    for graph in list(model.graphs()):
        for node in [node for node in graph if node.op_type == "ReduceSum"]:
            source = node.inputs[0]
            if source is not None and source.dtype == _INT64 and not _is_small(source):
                _sum_in_halves(graph, node, source)


def _is_small(value: ir.Value) -> bool:
    producer = value.producer()
    before = None if producer is None or producer.op_type != "Cast" else producer.inputs[0]
    return before is not None and before.dtype in _SMALL


def _sum_in_halves(graph: ir.Graph, node: ir.Node, source: ir.Value) -> None:
    result, maker = node.outputs[0], NodesBefore(graph, node, f"{node.outputs[0].name}/halves")
    half = maker.constant(np.array(_HALF), _INT64)
    upper = maker.make("Div", source, half)
    lower = maker.make("Sub", source, maker.make("Mul", upper, half))
    attributes = dict(node.attributes)
    sums = [maker.add(ir.node("ReduceSum", [part, *node.inputs[1:]], attributes)) for part in (upper, lower)]
    total = ir.Value(name=result.name, type=result.type, shape=result.shape)
    maker.add(ir.node("Add", [maker.make("Mul", sums[0], half), sums[1]], outputs=[total]))
    result.replace_all_uses_with(total, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _product(x: Value, dim: int | None = None, keepdim: bool = False, dtype: int = -1) -> Value:
    """Multiply along an axis, or all; of integers in a loop."""
    result = ir.DataType(dtype) if dtype not in (-1, None) else x.dtype if is_floating(x) else _INT64
    rank = len(x.shape)
    x = x if x.dtype == result else op.Cast(x, to=result.value)
    if not rank:
        return op.Identity(x)
    if result.is_floating_point():
        return op.ReduceProd(x, keepdims=0) if dim is None else op.ReduceProd(x, _axes(dim), keepdims=int(keepdim))
    if dim is None:
        x, dim, rank = op.Reshape(x, _axes(-1)), 0, 1
    axis = dim % rank
    ones = filled_without(axis, rank, x, op.CastLike(1, x))
    product, _ = call_op(
        "Scan", ones, x, _num_outputs=2, body=_multiply(result), num_scan_inputs=1, scan_input_axes=[axis]
    )
    return op.Unsqueeze(product, _axes(axis)) if keepdim else product


def _axes(axis: int) -> Value:
    return op.Constant(value_ints=[axis])


def _multiply(dtype: ir.DataType) -> ir.Graph:
    """Make the body of the loop: the product so far and a step; a Scan has one result a step, too."""
    state, step = (ir.Value(name=f"product/{name}", type=ir.TensorType(dtype)) for name in ("state", "step"))
    node = ir.node("Mul", [state, step])
    node.outputs[0].name, node.outputs[0].type = "product/so_far", ir.TensorType(dtype)
    copy = ir.node("Identity", [node.outputs[0]])
    copy.outputs[0].name, copy.outputs[0].type = "product/copy", ir.TensorType(dtype)
    return ir.Graph([state, step], [node.outputs[0], copy.outputs[0]], nodes=[node, copy], name="product")


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.aten.prod.default: lambda x, dtype=-1: _product(x, dtype=dtype),
    torch.ops.aten.prod.dim_int: _product,
}
