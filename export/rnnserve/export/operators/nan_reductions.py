"""Keeping nan in maxima and minima: onnxruntime's ReduceMax, ReduceMin, ArgMax, ArgMin and MaxPool pass over it.

In eager the maximum of a row with a nan is nan, and its argmax is where the first nan is. onnxruntime gives the largest
of what it compared last: finite, and without a word. MaxPool of -inf alone gives the lowest finite number, too.
"""

import numpy as np
import onnx_ir as ir

from rnnserve.export.operators.nodes_before import NodesBefore

__all__ = ["keep_nan"]

_VALUES = ("ReduceMax", "ReduceMin")
_INDICES = ("ArgMax", "ArgMin")


def keep_nan(model: ir.Model) -> None:
    """Let every reduction of floats to their largest or smallest give nan where there is one, in place."""
    for graph in list(model.graphs()):
        for node in [node for node in graph if node.op_type in (*_VALUES, *_INDICES)]:
            source = node.inputs[0]
            if source is not None and source.dtype is not None and source.dtype.is_floating_point():
                _guard(graph, node, source, source.dtype)
        for node in [node for node in graph if node.op_type == "MaxPool"]:
            _guard_pool(graph, node)


def _guard(graph: ir.Graph, node: ir.Node, source: ir.Value, dtype: ir.DataType) -> None:
    """Compute where the reduced axes hold a nan, and use it: for values afterwards, for indices before."""
    result = node.outputs[0]
    maker = NodesBefore(graph, node, f"{result.name or node.op_type}/nan")
    is_nan = maker.make("Cast", maker.make("IsNaN", source), to=ir.DataType.FLOAT.value)
    if node.op_type in _VALUES:
        attributes = dict(node.attributes)
        held = maker.add(ir.node("ReduceMax", [is_nan, *node.inputs[1:]], attributes))
        plain = ir.Value(name=f"{result.name}/without_nan", type=result.type, shape=result.shape)
        kept = ir.node(
            "Where",
            [
                maker.make("Cast", held, to=ir.DataType.BOOL.value),
                maker.constant(np.array(np.nan), dtype),
                plain,
            ],
            outputs=[ir.Value(name=result.name, type=result.type, shape=result.shape)],
        )
        reduced = ir.node(node.op_type, node.inputs, attributes, outputs=[plain])
        maker.add(reduced)
        maker.add(kept)
        result.replace_all_uses_with(kept.outputs[0], replace_graph_outputs=True)
        graph.remove(node, safe=True)
        return
    # Rows with a nan are searched for the nan; in the smallest's case for the smallest of its negative.
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    held = maker.add(
        ir.node("ReduceMax", [is_nan, maker.constant(np.array([axis]), ir.DataType.INT64)], {"keepdims": 1})
    )
    marks = maker.make("Cast", is_nan, to=dtype.value)
    if node.op_type == "ArgMin":
        marks = maker.make("Neg", marks)
    searched = maker.add(ir.node("Where", [maker.make("Cast", held, to=ir.DataType.BOOL.value), marks, source]))
    searched.type, searched.shape = ir.TensorType(dtype), source.shape
    node.replace_input_with(0, searched)


def _guard_pool(graph: ir.Graph, node: ir.Node) -> None:
    """Give nan where a window holds one, and -inf where it holds nothing else; its indices are searched without either.

    A nan is infinite there, infinity the largest number, and -inf one that is larger than the lowest, with which
    onnxruntime begins: so that each of them has a place. Of several nan in a window, eager has the last one's.
    """
    source, result = node.inputs[0], node.outputs[0]
    dtype = None if source is None else source.dtype
    if source is None or dtype is None or not dtype.is_floating_point():
        return
    maker = NodesBefore(graph, node, f"{result.name or node.op_type}/nan")
    attributes = dict(node.attributes)
    if len(node.outputs) > 1:
        limits = np.finfo(dtype.numpy())
        ends = [
            maker.constant(np.array(end), dtype) for end in (np.nextafter(limits.min, limits.dtype.type(0)), limits.max)
        ]
        infinite = maker.constant(np.array(np.inf), dtype)
        searched = maker.make("Where", maker.make("IsNaN", source), infinite, maker.make("Clip", source, *ends))
        node.replace_input_with(0, searched)
        searched.type, searched.shape = ir.TensorType(dtype), source.shape
        if not result.uses() and not result.is_graph_output():
            return
    is_nan = maker.make("Cast", maker.make("IsNaN", source), to=ir.DataType.FLOAT.value)
    held = maker.add(ir.node("MaxPool", [is_nan], attributes))
    plain = maker.add(ir.node("MaxPool", [source], attributes))
    lowest = np.array(np.finfo(dtype.numpy()).min)
    is_lowest = maker.make("Equal", plain, maker.constant(lowest, dtype))
    with_inf = maker.make("Where", is_lowest, maker.constant(np.array(-np.inf), dtype), plain)
    has_nan = maker.make("Greater", held, maker.constant(np.array(0.0), ir.DataType.FLOAT))
    kept = ir.Value(name=result.name, type=result.type, shape=result.shape)
    maker.add(ir.node("Where", [has_nan, maker.constant(np.array(np.nan), dtype), with_inf], outputs=[kept]))
    result.replace_all_uses_with(kept, replace_graph_outputs=True)
    if len(node.outputs) == 1:
        graph.remove(node, safe=True)
    else:
        result.name = f"{result.name}/searched"
