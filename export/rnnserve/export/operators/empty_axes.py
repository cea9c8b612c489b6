"""Axes without values, as `x[x > 0]` and `x[:, 1:]` may have: a node fails there, whose name says why.

Of no values onnxruntime has 0 as the mean, where eager has nan, and some number as the largest, where eager raises an
error. A loop over no steps or rows ends the process with SIGFPE, because Scan divides by the size of a step, and a GRU
with SIGABRT, because it allocates as many bytes as a row has. So all of these are errors of the request.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from rnnserve.common.refusing_nodes import refusing_name
from rnnserve.export.operators.graphs import NodesBefore, rewrite

__all__ = ["MayBeEmpty", "guard_empty_axes", "refuse_empty"]

MayBeEmpty: TypeAlias = Callable[[int | ir.SymbolicDim], bool]
"""Whether a size of the graph may be 0 for a request."""

_INT64 = ir.DataType.INT64

_REFUSED = {
    "ReduceMax": "the largest of no values",
    "ReduceMin": "the smallest of no values",
    "ReduceMean": "the mean of no values",
    "ArgMax": "the place of the largest of no values",
    "ArgMin": "the place of the smallest of no values",
    "GRU": "a GRU over no steps, or of no rows",
    "LSTM": "an LSTM over no steps, or of no rows",
    "RNN": "an RNN over no steps",
    "Scan": "a running result over no steps, or of no rows",
    "ConvTranspose": "a transposed convolution of no steps",
}
"""Operators that onnxruntime computes of no values otherwise than eager, in words for a client."""


def guard_empty_axes(model: ir.Model, may_be_empty: MayBeEmpty) -> None:
    """Let what is computed over axes that may be empty fail where they are, in place."""
    rewrite(model, dict.fromkeys(_REFUSED, functools.partial(_guard, may_be_empty, _shapes(model))))


def _guard(may_be_empty: MayBeEmpty, shapes: Mapping[str, ir.Shape], nodes: NodesBefore, node: ir.Node) -> None:
    at = len(node.inputs) - node.attributes["num_scan_inputs"].as_int() if node.op_type == "Scan" else 0
    over = node.inputs[at]
    shape = None if over is None else over.shape or shapes.get(over.name or "")
    if shape is not None:
        empty = [axis for axis in _axes_over(node, len(shape)) if may_be_empty(shape[axis])]
        if empty:
            refuse_empty(nodes.graph, node, at, np.isin(np.arange(len(shape)), empty), _REFUSED[node.op_type])


def _shapes(model: ir.Model) -> Mapping[str, ir.Shape]:
    """Infer the shapes of values by name, on a copy: the exporter leaves out those within a translation."""
    copy = model.clone()
    ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(copy)
    return {
        value.name: value.shape
        for graph in copy.graphs()
        for value in (*graph.inputs, *(output for node in graph for output in node.outputs))
        if value.name is not None and value.shape is not None
    }


def _axes_over(node: ir.Node, rank: int) -> Sequence[int]:
    """Give the axes over which a node computes."""
    if node.op_type in ("GRU", "LSTM"):
        return [0, 1]
    if node.op_type == "RNN":
        return [0]
    if node.op_type == "Scan":  # of no rows, either
        return range(rank)
    if node.op_type == "ConvTranspose":
        return range(2, rank)
    if node.op_type in ("ArgMax", "ArgMin"):
        axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
        return [axis % rank] if rank else []
    given = _number_of(node.inputs[1]) if len(node.inputs) > 1 else None
    return [int(axis) % rank for axis in given.numpy().ravel()] if given is not None and given.size else range(rank)


def _number_of(value: ir.Value | None) -> ir.TensorProtocol | None:
    """Give the constant that axes are, which some translations reshape."""
    producer = None if value is None else value.producer()
    if producer is not None and producer.op_type in ("Reshape", "Identity"):
        return _number_of(producer.inputs[0])
    return None if value is None else ir.convenience.get_const_tensor(value)


def refuse_empty(graph: ir.Graph, node: ir.Node, at: int, refused: npt.NDArray[np.bool_], why: str) -> None:
    """Put a node before another one that fails where an axis is empty: it asks for a size of 1 there."""
    source = node.inputs[at]
    assert source is not None  # noqa: S101 - its shape is known
    maker = NodesBefore(graph, node, f"{node.outputs[0].name}/input_{at}_of_some")
    sizes = maker.make("Max", maker.make("Shape", source), maker.constant(refused, _INT64))
    some = ir.node("Reshape", [source, sizes], {"allowzero": 1})
    some.name = refusing_name(why, f"{node.outputs[0].name}/{at}")
    some.outputs[0].type, some.outputs[0].shape = source.type, source.shape
    node.replace_input_with(at, maker.add(some))
