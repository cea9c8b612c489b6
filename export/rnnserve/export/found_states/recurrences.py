"""Recurrent operators and scans: their states have inputs and outputs already, which are given names."""

from collections.abc import Iterator, Sequence

import onnx

from rnnserve.export.analysis.decisions import padding_key
from rnnserve.export.found_states.known_graph import FoundState, KnownGraph, Obstacle, Place
from rnnserve.protos import manifest_pb2
from rnnserve.protos.protocol_words import BATCH

RECURRENT = {"RNN": "h", "GRU": "h", "LSTM": "hc"}
"""Recurrent operators, each with the letters of its states: inputs from the sixth, outputs from the second on."""

_FIRST_STATE = 5
_Exposed = tuple[int, int, str, Sequence[manifest_pb2.Axis]]
"""A state's input and output of its node, its name, and its axes."""


def name_results(model: onnx.ModelProto) -> None:
    """Name the results of recurrent operators and scans that have none, in place, so that a walk knows them."""
    for number, node in enumerate(model.graph.node):
        if node.op_type in RECURRENT or node.op_type == "Scan":
            count = 1 + len(RECURRENT.get(node.op_type, "")) if node.op_type in RECURRENT else len(node.output)
            names = [*node.output, *[""] * (count - len(node.output))]
            node.output[:] = [name or f"found/{number}/{at}" for at, name in enumerate(names)]


def find_recurrence(graph: KnownGraph, number: int, node: onnx.NodeProto, prefix: str) -> Place | None:
    """Find the states of an RNN, GRU or LSTM operator. None if it doesn't run over the sequence."""
    if graph.steps_at(node.input[0]) != 0:
        return None
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    if attributes.get("direction", b"forward") != b"forward":
        raise Obstacle("it reads the sequence from its end")
    axes = [
        manifest_pb2.Axis(name="directions", size=1),
        manifest_pb2.Axis(name=BATCH, size=-1),
        manifest_pb2.Axis(name="hidden", size=attributes["hidden_size"]),
    ]
    letters = enumerate(RECURRENT[node.op_type])
    return _exposed(
        graph, number, node, [(_FIRST_STATE + at, 1 + at, f"{prefix}.{name}", axes) for at, name in letters]
    )


def find_scan(graph: KnownGraph, number: int, node: onnx.NodeProto, prefix: str) -> Place | None:
    """Find the states of a Scan. None if it doesn't run over the sequence."""
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    body, count = attributes["body"], len(node.input) - attributes["num_scan_inputs"]
    axes = attributes.get("scan_input_axes") or [0] * (len(node.input) - count)
    scanned = zip(node.input[count:], axes, strict=True)
    if not any(
        (at := graph.steps_at(name)) is not None and axis % graph.values[name].rank == at for name, axis in scanned
    ):
        return None
    for name in captured_names(body):
        if graph.depends_on_steps(name):
            raise Obstacle("each of its steps reads what is computed of other steps")
    needed, read = needed_inputs(graph.model.graph, node, body, count)
    states = [
        (at, at, f"{prefix}.state" + (f"_{at}" if len(needed) > 1 else ""), graph.axes_of(node.output[at]))
        for at in needed
    ]
    unread = {name for at, name in enumerate(node.input) if at not in read} - {node.input[at] for at in read}
    return _exposed(graph, number, node, states, sorted(unread))


def _exposed(
    graph: KnownGraph, number: int, node: onnx.NodeProto, states: Sequence[_Exposed], unread: Sequence[str] = ()
) -> Place:
    """Name the states of a node that the model doesn't declare."""
    changed = onnx.NodeProto()
    changed.CopyFrom(node)
    changed.input.extend([""] * (max((at + 1 for at, *_ in states), default=0) - len(changed.input)))
    nodes: list[onnx.NodeProto] = [changed]
    found: list[FoundState] = []
    for at, result, name, axes in states:
        final = node.output[result]
        if graph.lengths and graph.values[final].track(padding_key(graph.axis)).is_lost:
            raise Obstacle("it runs past the lengths of rows, so that its state at the end of a row is not known")
        begins = graph.beginning(changed.input[at])
        if begins is None:
            continue
        typed = [node.input[0]] if node.op_type in RECURRENT else [final, node.input[at]]
        found.append(graph.state(name, axes, graph.dtype(*typed), computed=begins))
        changed.input[at] = name
        nodes.append(onnx.helper.make_node("Identity", [final], [f"{name}_n"], name=f"{name}_n"))
    return Place(number, {number: nodes}, [], found, unread=unread)


def needed_inputs(
    graph: onnx.GraphProto, node: onnx.NodeProto, body: onnx.GraphProto, count: int
) -> tuple[list[int], set[int]]:
    """Find which states of a Scan, and which of all its inputs, the results depend on that its graph reads.

    The first `count` inputs and outputs of the body are states.
    """
    read = {name for each in graph.node for name in each.input} | {value.name for value in graph.output}
    inputs = {value.name: at for at, value in enumerate(body.input)}
    waiting = [at for at, name in enumerate(node.output) if name in read]
    states, behind, seen = set[int](), set[int](), set[int]()
    while waiting:
        at = waiting.pop()
        if at in seen:
            continue
        seen.add(at)
        behind |= {inputs[name] for name in _names_behind(body, body.output[at].name) if name in inputs}
        states |= {each for each in behind if each < count} | ({at} if at < count else set())
        waiting += states
    return sorted(states), behind


def _names_behind(body: onnx.GraphProto, name: str) -> set[str]:
    """Name all that a tensor of a body is computed of. An operator with a body of its own may read all inputs."""
    makers = {result: node for node in body.node for result in node.output}
    found: set[str] = set()
    waiting = [name]
    while waiting:
        at = waiting.pop()
        maker = makers.get(at)
        if at not in found and maker is not None:
            waiting += maker.input
            if any(each.type == onnx.AttributeProto.GRAPH for each in maker.attribute):
                waiting += [value.name for value in body.input]
        found.add(at)
    return found


def captured_names(body: onnx.GraphProto) -> Iterator[str]:
    """Name the tensors of outer graphs that a body reads."""
    own = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
    own |= {name for node in body.node for name in node.output}
    for node in body.node:
        yield from (name for name in node.input if name and name not in own)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from (name for name in captured_names(attribute.g) if name not in own)
