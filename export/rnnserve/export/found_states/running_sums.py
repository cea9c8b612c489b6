"""Running sums over the sequence: the sum so far is carried."""

import onnx

from rnnserve.export.analysis.values import size_of
from rnnserve.export.found_states.initial_values import Beginning, initial_of
from rnnserve.export.found_states.known_graph import KnownGraph
from rnnserve.export.found_states.node_pieces import FAR, NodePieces
from rnnserve.export.found_states.place import FoundState, Place, datatype_of
from rnnserve.export.found_states.windows import StateAxes, last_steps
from rnnserve.protos import manifest_pb2

__all__ = ["find_sum"]


def find_sum(graph: KnownGraph, number: int, node: onnx.NodeProto, prefix: str) -> Place | None:
    """Find a running sum over the sequence; None where it runs over another axis, or backward."""
    given, axis_name = node.input
    steps, value = graph.steps_at(given), graph.values.get(given)
    attributes = {each.name: each.i for each in node.attribute}
    axis = graph.values[axis_name].numbers if axis_name in graph.values else None
    if steps is None or axis is None or value is None or axis[0] % value.rank != steps or attributes.get("reverse"):
        return None
    if _begins_with_declared(graph, given, steps):
        return Place(number, {}, [], [])
    pieces, name = NodePieces(prefix), f"{prefix}.sum"
    axes = graph.axes_of(given, steps, 1)
    datatype = datatype_of(graph.element_types.get(given, 0))
    joined = pieces.add("Concat", [name, given], axis=steps)
    sums = pieces.add("CumSum", [joined, axis_name])
    if attributes.get("exclusive"):
        pieces.steps(sums, steps, 0, -1, node.output[0])
    else:
        pieces.steps(sums, steps, 1, FAR, node.output[0])
    last_steps(graph, pieces, sums, name, StateAxes(value.rank, steps, graph.rows_at(given), 1))
    state = FoundState(
        manifest_pb2.Tensor(name=name, datatype=datatype, axes=axes, default=manifest_pb2.DEFAULT_ZEROS),
        manifest_pb2.Tensor(name=f"{name}_n", datatype=datatype, axes=axes, continues_as=name),
    )
    return Place(number, {number: pieces.nodes}, pieces.initializers, [state])


def _begins_with_declared(graph: KnownGraph, name: str, steps: int) -> bool:
    """Whether a declared state is joined to the steps that are summed, before the first of them."""
    maker = graph.makers.get(name)
    if maker is None or maker.op_type != "Concat" or len(maker.input) != 2 or graph.depends_on_steps(maker.input[0]):
        return False
    value = graph.values.get(maker.input[0])
    if value is None or value.shape is None or size_of(value.axes[steps]).number != 1:
        return False
    return initial_of(graph, maker.input[0]).kind is Beginning.DECLARED
