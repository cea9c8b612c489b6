"""Finding what a graph carries from step to step, and whether a sequence may be cut into parts there."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

import onnx

from rnnserve.export.analysis import Decision, Property, Verdict, worst
from rnnserve.export.analysis.decisions import decide_of, decide_steps, values_of
from rnnserve.export.analysis.values import NotCovered
from rnnserve.export.found_states.known_graph import FoundState, KnownGraph, Obstacle, Place
from rnnserve.export.found_states.recurrences import RECURRENT, captured_names, find_recurrence, find_scan, name_results
from rnnserve.export.found_states.windows import find_convolution, find_join, find_padding, find_sum
from rnnserve.export.tensors import sequence_axes
from rnnserve.protos import manifest_pb2
from rnnserve.protos.datatypes import DTYPES

Tensors = Sequence[manifest_pb2.Tensor]

_FINDERS: dict[str, Callable[[KnownGraph, int, onnx.NodeProto, str], Place | None]] = {
    **dict.fromkeys(RECURRENT, find_recurrence),
    "Scan": find_scan,
    "Loop": lambda graph, _, node, __: _refuse_loop(graph, node),
    "Pad": find_padding,
    "Conv": find_convolution,
    "Concat": find_join,
    "CumSum": find_sum,
}


_UNDECIDED = Decision(Verdict.NOT_DECIDED)


@dataclasses.dataclass(frozen=True)
class FoundStates:
    """What was found of a graph."""

    states: Sequence[FoundState] = ()  # what it carries from step to step, except what the model declares
    model: onnx.ModelProto | None = None  # the same with these states as inputs and outputs, if there are any
    reason: str = ""  # why a sequence can't be cut into parts
    decision: Decision = _UNDECIDED  # whether steps depend on others only by states, of all outputs together


def find_states(model: onnx.ModelProto, inputs: Tensors, outputs: Tensors) -> FoundStates:
    """Find what a graph carries from step to step, and expose it in a copy, which is to be tried."""
    axes = sequence_axes(inputs)
    if len(axes) != 1:
        said = f"more than one sequence axis: {', '.join(axes)}" if axes else "no sequence axis"
        return FoundStates(reason=f"it has {said}")
    (axis,) = axes
    other = next(filter(None, (_other_steps(tensor, axis) for tensor in outputs)), "")
    if other:
        return FoundStates(reason=other)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    name_results(copy)
    values = values_of(copy, inputs)
    causality = decide_of(values, inputs, outputs)[Property.CAUSALITY]
    causal = worst(causality.values())
    if causal.verdict is Verdict.REFUTED:
        return FoundStates(reason=_shown(causal.reasons), decision=causal)
    try:
        places = _places(KnownGraph(copy, inputs, outputs, axis, values))
    except Obstacle as obstacle:
        return FoundStates(reason=str(obstacle))
    carrying = {
        name: place.unread for place in places for name in (*copy.graph.node[place.node].output, *place.before) if name
    }
    steps = decide_steps(copy, inputs, outputs, axis, values, carrying)
    decision = dataclasses.replace(worst([causal, *steps.values()]), readers=_readers(outputs, causality, steps))
    if decision.verdict is Verdict.REFUTED:
        return FoundStates(reason=_shown(decision.reasons), decision=decision)
    states = [state for place in places for state in place.states]
    return FoundStates(states, _cut(copy, places) if states else None, decision=decision)


def _shown(reasons: Sequence[str]) -> str:
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return f"{reasons[0]}{more}"


def _readers(outputs: Tensors, *decisions: Mapping[str, Decision]) -> tuple[str, ...]:
    """Name the nodes that are known to read other steps for an output, unless it is a declared state."""
    names = [tensor.name for tensor in outputs if not tensor.continues_as]
    return tuple(dict.fromkeys(reader for each in decisions for name in names for reader in each[name].readers))


def _refuse_loop(graph: KnownGraph, node: onnx.NodeProto) -> None:
    """Raise Obstacle for a Loop that reads steps, or their number: it may carry, or count, anything."""
    (body,) = (each.g for each in node.attribute if each.name == "body")
    if any(graph.depends_on_steps(name) for name in (*node.input, *captured_names(body)) if name):
        raise Obstacle("it is a Loop, in which no states are found: a file with a Scan over the steps can be cut")


def _other_steps(tensor: manifest_pb2.Tensor, axis: str) -> str:
    """Describe how an output has other steps than the sequence. Empty if it has the same, or none."""
    for derived in tensor.derived_axes:
        return f'its output "{tensor.name}" has {derived.name} steps, and not one for each of "{derived.of}"'
    if [each.name for each in tensor.axes].count(axis) > 1:
        return f'its output "{tensor.name}" has two axes of the steps of "{axis}", so each step meets all others'
    return ""


def _places(graph: KnownGraph) -> list[Place]:
    """Find all places. Raises Obstacle with the node in its message if the graph can't be cut."""
    nodes = graph.model.graph.node
    numbers = [number for number, node in enumerate(nodes) if node.op_type in _FINDERS and not node.domain]
    # Names count only nodes that carry something, so these are found first.
    first = [place for number in numbers if (place := _place(graph, number, f"found/{number}")) is not None]
    prefixes = _name_prefixes(graph.model.graph, [place.node for place in first if place.states])
    found = [_place(graph, place.node, prefixes.get(place.node, f"found/{place.node}")) for place in first]
    return [place for place in found if place is not None]


def _place(graph: KnownGraph, number: int, prefix: str) -> Place | None:
    node = graph.model.graph.node[number]
    title = node.name.rpartition("/")[0] or node.name or node.op_type.lower()
    try:
        return _FINDERS[node.op_type](graph, number, node, prefix)
    except Obstacle as obstacle:
        raise Obstacle(f"{title}: {obstacle}") from None
    except (NotCovered, LookupError, StopIteration, TypeError, ValueError):  # as for a rule: a file may hold anything
        raise Obstacle(f"{title}: it is a {node.op_type} in a form that is not looked into") from None


def _cut(model: onnx.ModelProto, places: Sequence[Place]) -> onnx.ModelProto:
    """Put the nodes of places in, and their states among the inputs and outputs."""
    changed = {number: nodes for place in places for number, nodes in place.nodes.items()}
    nodes = [new for number, node in enumerate(model.graph.node) for new in changed.get(number, [node])]
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    del cut.graph.node[:]
    del cut.graph.value_info[:]  # some have a step more now, and onnxruntime believes what it says
    cut.graph.node.extend(nodes)
    for place in places:
        cut.graph.initializer.extend(place.initializers)
        for state in place.states:
            cut.graph.input.append(_value(state.initial))
            cut.graph.output.append(_value(state.final))
    return cut


def _value(tensor: manifest_pb2.Tensor) -> onnx.ValueInfoProto:
    shape = [axis.name if axis.size < 0 else axis.size for axis in tensor.axes]
    element_type = onnx.helper.np_dtype_to_tensor_dtype(DTYPES[tensor.datatype])
    return onnx.helper.make_tensor_value_info(tensor.name, element_type, shape)


_GIVEN = re.compile(r"/(\d+|joined|constant_\d+)|\.((h|c|last|sum)(_n)?|state.*)")
"""What follows a prefix in the names of states, and of the nodes that compute them."""
_LOOP = re.compile(r"(^|/)loop_\d+$")
"""What stands between the path of a module and the names of a loop in the place of its RNN operator."""
_ODD = re.compile(r"[^\w.]+")


def _name_prefixes(graph: onnx.GraphProto, numbers: Sequence[int]) -> dict[int, str]:
    """Give the prefix of the states of some nodes, such that the graph has no tensor of a name that is given.

    Nodes that an export has made are named after their module, as "encoder.0/node_gru__1": their states are
    "encoder.0.h". If a module has several, they are counted: "encoder.0.h", "encoder.1.h" for "encoder".
    """
    paths = {number: _path(graph, graph.node[number]) for number in numbers}
    taken = [name for node in graph.node for name in (*node.input, *node.output)]
    taken += [value.name for value in (*graph.input, *graph.output)] + [tensor.name for tensor in graph.initializer]
    prefixes: dict[int, str] = {}
    for number, path in paths.items():
        alike = [other for other, its in paths.items() if its == path]
        prefix = path if len(alike) == 1 else f"{path}.{alike.index(number)}"
        while prefix in prefixes.values() or any(
            name.startswith(prefix) and _GIVEN.fullmatch(name, len(prefix)) for name in taken
        ):
            prefix += "_"
        prefixes[number] = prefix
    return prefixes


def _path(graph: onnx.GraphProto, node: onnx.NodeProto) -> str:
    """The path of a node's module. Of the convolution that reads it, if it is padding. Otherwise its operator."""
    path = _LOOP.sub("", node.name.rpartition("/")[0])
    reader = next((each for each in graph.node if node.output[0] in each.input), None)
    if not path and reader is not None and reader.op_type == "Conv":
        path = reader.name.rpartition("/")[0]
    return _ODD.sub("_", path.strip("/").replace("/", ".")) or node.op_type.lower()
