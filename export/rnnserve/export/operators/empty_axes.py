"""Axes without values, as `x[x > 0]` and `x[:, 1:]` may have: the results of eager, or an error where eager raises one.

Of no values onnxruntime has 0 as the mean, where eager has nan, and some number as the largest, where eager raises an
error. A loop over no steps or rows ends the process with SIGFPE, because Scan divides by the size of a step, and a GRU
with SIGABRT, because it allocates as many bytes as a row has. So a loop of ours gets a step of zeros, which is left out
of its results, and a GRU or an LSTM of no rows is an error of the request.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from rnnserve.common.refusing_nodes import refusing_name
from rnnserve.export.operators.nodes_before import NodesBefore

__all__ = ["MayBeEmpty", "guard_empty_axes", "refuse_empty"]

MayBeEmpty: TypeAlias = Callable[[int | ir.SymbolicDim], bool]
"""Whether a size of the graph may be 0 for a request."""

_INT64 = ir.DataType.INT64

_REFUSED = {
    "ReduceMax": "the largest of no values",
    "ReduceMin": "the smallest of no values",
    "ArgMax": "the place of the largest of no values",
    "ArgMin": "the place of the smallest of no values",
    "GRU": "a GRU over no steps, or of no rows",
    "LSTM": "an LSTM over no steps, or of no rows",
    "RNN": "an RNN over no steps",
    "ConvTranspose": "a transposed convolution of no steps",
}
"""Operators for which eager raises an error, and onnxruntime does not always, in words for a client. Of no rows eager
gives nothing, and onnxruntime's GRU and LSTM end the process."""

_GUARDED = frozenset({*_REFUSED, "ReduceMean", "Scan"})


def guard_empty_axes(model: ir.Model, may_be_empty: MayBeEmpty | None) -> None:
    """Make what is computed over axes that may be empty what eager gives, in place.

    Args:
        model: The finished graph.
        may_be_empty: Whether a size may be 0 for a request; None where none may.
    """
    if may_be_empty is None:
        return
    shapes = _shapes(model)
    for graph in list(model.graphs()):
        for node in [node for node in graph if node.op_type in _GUARDED]:
            at = len(node.inputs) - node.attributes["num_scan_inputs"].as_int() if node.op_type == "Scan" else 0
            over = node.inputs[at]
            shape = None if over is None else over.shape or shapes.get(over.name or "")
            axes = [] if shape is None else _axes_over(node, len(shape))
            empty = [] if shape is None else [axis for axis in axes if may_be_empty(shape[axis])]
            if shape is None or not empty:
                continue
            if node.op_type == "Scan":
                _guard_loop(graph, node, shape)
            elif node.op_type == "ReduceMean":
                _give_nan(graph, node, axes)
            else:
                refuse_empty(graph, node, 0, np.isin(np.arange(len(shape)), empty), _REFUSED[node.op_type])


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


def _give_nan(graph: ir.Graph, node: ir.Node, axes: Sequence[int]) -> None:
    """Multiply a mean by 1, or by 0 / 0 where there are no values."""
    source, result = node.inputs[0], node.outputs[0]
    assert source is not None  # noqa: S101 - its shape is known
    dtype = result.dtype or source.dtype
    assert dtype is not None  # noqa: S101 - `fill_types` has filled it
    plain = ir.Value(name=f"{result.name}/of_some", type=result.type, shape=result.shape)
    maker = NodesBefore(graph, node, f"{result.name}/of_none")
    maker.add(ir.node("ReduceMean", node.inputs, dict(node.attributes), outputs=[plain]))
    sizes = maker.make("Gather", maker.make("Shape", source), maker.constant(np.array(axes), _INT64), axis=0)
    least = maker.make("Min", maker.make("ReduceMin", sizes, keepdims=0), maker.constant(np.array(1), _INT64))
    some = maker.make("Cast", least, to=dtype.value)
    mean = ir.Value(name=result.name, type=result.type, shape=result.shape)
    maker.add(ir.node("Mul", [plain, maker.make("Div", some, some)], outputs=[mean]))
    result.replace_all_uses_with(mean, replace_graph_outputs=True)
    graph.remove(node, safe=True)


def refuse_empty(graph: ir.Graph, node: ir.Node, at: int, refused: npt.NDArray[np.bool_], why: str) -> None:
    """Put a node before another one that fails where an axis is empty: it asks for a size of 1 there.

    Args:
        graph: Graph of the node.
        node: Node that eager does not compute of no values.
        at: Number of the input that has the axes.
        refused: (rank,): the axes.
        why: Words for a client: what the node computes.
    """
    source = node.inputs[at]
    assert source is not None  # noqa: S101 - its shape is known
    maker = NodesBefore(graph, node, f"{node.outputs[0].name}/input_{at}_of_some")
    sizes = maker.make("Max", maker.make("Shape", source), maker.constant(refused, _INT64))
    some = ir.node("Reshape", [source, sizes], {"allowzero": 1})
    some.name = refusing_name(why, f"{node.outputs[0].name}/{at}")
    some.outputs[0].type, some.outputs[0].shape = source.type, source.shape
    node.replace_input_with(at, maker.add(some))


def _guard_loop(graph: ir.Graph, node: ir.Node, shape: ir.Shape) -> None:
    """Let a loop of ours compute with a row or a step of zeros where there is none, and cut that off what it gives.

    Args:
        graph: Graph of the loop.
        node: A Scan of one of `TRANSLATIONS`: its states and outputs have the shape of what it is over, states without
            the axis of the steps; what else it is over counts the steps.
        shape: Shape of what it is over.
    """
    states = len(node.inputs) - node.attributes["num_scan_inputs"].as_int()
    axis = node.attributes["scan_input_axes"].as_ints()[0]
    maker = NodesBefore(graph, node, f"{node.outputs[0].name}/some")
    given = [value for value in node.inputs if value is not None]
    ranks = [len(shape) - 1 if at < states else len(shape) if at == states else 1 for at in range(len(given))]
    for at, (value, rank) in enumerate(zip(given, ranks, strict=True)):
        if rank:
            node.replace_input_with(at, _with_some(maker, value, rank))
    steps = maker.make("Gather", maker.make("Shape", given[states]), maker.constant(np.array(axis), _INT64), axis=0)
    is_some = maker.make("Cast", steps, to=ir.DataType.BOOL.value)
    for at, result in enumerate(node.outputs):
        if not result.uses() and not result.is_graph_output():
            continue
        kept = _renamed(result)
        like = min(at, states)
        start = maker.constant(np.zeros(ranks[like]), _INT64)
        size = maker.make("Shape", given[like])
        if at >= states:
            graph.insert_after(node, ir.node("Slice", [result, start, size], outputs=[kept]))
            continue
        chosen = ir.node("Where", [is_some, result, node.inputs[at]])
        chosen.outputs[0].name = f"{kept.name}/after_some"
        last = [chosen.outputs[0], start, size] if ranks[like] else [chosen.outputs[0]]
        graph.insert_after(node, [chosen, ir.node("Slice" if ranks[like] else "Identity", last, outputs=[kept])])


def _renamed(result: ir.Value) -> ir.Value:
    """Give what uses a result another value instead, which has its name."""
    kept = ir.Value(name=result.name, type=result.type, shape=result.shape)
    result.name, result.shape = f"{kept.name}/with_some", None  # onnxruntime takes values of one shape for one buffer
    result.replace_all_uses_with(kept, replace_graph_outputs=True)
    return kept


def _with_some(maker: NodesBefore, value: ir.Value, rank: int) -> ir.Value:
    """Add zeros along those of all axes that are empty, so that they have a size of 1."""
    least = maker.constant(np.ones(rank), _INT64)
    missing = maker.make("Sub", least, maker.make("Min", maker.make("Shape", value), least))
    pads = maker.make("Concat", maker.constant(np.zeros(rank), _INT64), missing, axis=0)
    padded = maker.make("Pad", value, pads)
    padded.type = value.type
    return padded
