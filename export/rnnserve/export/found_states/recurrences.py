"""Recurrent operators and scans: their states have inputs and outputs already, which are given names."""

import dataclasses
from collections.abc import Iterator, Sequence

import onnx

from rnnserve.export.analysis.decisions import padding_key
from rnnserve.export.found_states.known_graph import Beginning, KnownGraph, initial_of
from rnnserve.export.found_states.place import FoundState, Obstacle, Place, datatype_of
from rnnserve.protos import manifest_pb2
from rnnserve.protos.protocol_words import BATCH

RECURRENT = {"RNN": "h", "GRU": "h", "LSTM": "hc"}
"""Recurrent operators, each with the letters of its states: inputs from the sixth, outputs from the second on."""

_FIRST_STATE = 5


def name_results(model: onnx.ModelProto) -> None:
    """Name the results of recurrent operators and scans that have none, in place, so that a walk tells of them."""
    for number, node in enumerate(model.graph.node):
        count = 1 + len(RECURRENT.get(node.op_type, "")) if node.op_type in RECURRENT else len(node.output)
        if node.op_type in RECURRENT or node.op_type == "Scan":
            names = [*node.output, *[""] * (count - len(node.output))]
            del node.output[:]
            node.output.extend(name or f"found/{number}/{at}" for at, name in enumerate(names))


def find_recurrence(graph: KnownGraph, number: int, node: onnx.NodeProto, prefix: str) -> Place | None:
    """Find the states of an RNN, GRU or LSTM operator that runs over the sequence; None where it does not.

    Args:
        graph: The graph.
        number: Number of the node.
        node: The node.
        prefix: Prefix of the states' names, such as "encoder.gru".

    Raises:
        Obstacle: If a sequence cannot be cut there.
    """
    if graph.steps_at(node.input[0]) != 0:
        return None
    if next((each.s for each in node.attribute if each.name == "direction"), b"forward") != b"forward":
        raise Obstacle("it reads the sequence from its end")
    hidden = next(each.i for each in node.attribute if each.name == "hidden_size")
    axes = [
        manifest_pb2.Axis(name="directions", size=1),
        manifest_pb2.Axis(name=BATCH, size=-1),
        manifest_pb2.Axis(name="hidden", size=hidden),
    ]
    datatype = datatype_of(graph.element_types.get(node.input[0], 0))
    letters = enumerate(RECURRENT[node.op_type])
    states = [(at, f"{prefix}.{letter}", axes, datatype) for at, letter in letters]
    return _exposed(graph, number, node, _FIRST_STATE, 1, states)


def find_scan(graph: KnownGraph, number: int, node: onnx.NodeProto, prefix: str) -> Place | None:
    """Find the states of a Scan that runs over the sequence; None where it does not.

    Raises:
        Obstacle: If a sequence cannot be cut there.
    """
    attributes = {each.name: each for each in node.attribute}
    count = len(node.input) - attributes["num_scan_inputs"].i
    every = node.input[count:]
    axes = list(attributes["scan_input_axes"].ints) if "scan_input_axes" in attributes else [0] * len(every)
    if not any(graph.steps_at(name) is not None for name in every):
        return None
    over_steps = any(_runs_over_steps(graph, name, axis) for name, axis in zip(every, axes, strict=True))
    if not over_steps and not _continues_declared(graph, node, attributes["body"].g):
        return None  # a Scan over rows, whose body keeps its states to itself
    for name in captured_names(attributes["body"].g):
        if graph.depends_on_steps(name):
            raise Obstacle("each of its steps reads what is computed of other steps")
    states = []
    needed = needed_states(graph.model.graph, node, attributes["body"].g, count)
    for at in needed:
        final = node.output[at]
        datatype = datatype_of(graph.element_types.get(final, 0) or graph.element_types.get(node.input[at], 0))
        states.append((at, f"{prefix}.state" + (f"_{at}" if len(needed) > 1 else ""), graph.axes_of(final), datatype))
    place = _exposed(graph, number, node, 0, 0, states)
    read = needed_inputs(graph.model.graph, node, attributes["body"].g, count)
    unread = [name for at, name in enumerate(node.input) if at not in read]
    return dataclasses.replace(place, unread=[name for name in unread if name not in [node.input[at] for at in read]])


def _runs_over_steps(graph: KnownGraph, name: str, axis: int) -> bool:
    steps = graph.steps_at(name)
    return steps is not None and axis % graph.values[name].rank == steps


def _continues_declared(graph: KnownGraph, node: onnx.NodeProto, body: onnx.GraphProto) -> bool:
    """Whether each recurrent operator of a body begins with an input that is a declared state."""
    declared = {
        inner.name
        for inner, name in zip(body.input, node.input, strict=True)
        if graph.inputs_behind(name) & graph.declared
    }
    recurrent = [each for each in body.node if each.op_type in RECURRENT]
    initial = [name for each in recurrent for name in each.input[_FIRST_STATE : _FIRST_STATE + 1]]
    return len(initial) == len(recurrent) > 0 and all(names_behind(body, name) & declared for name in initial)


def _exposed(
    graph: KnownGraph,
    number: int,
    node: onnx.NodeProto,
    first_input: int,
    first_output: int,
    states: list[tuple[int, str, list[manifest_pb2.Axis], str]],
) -> Place:
    """Give the states of a node names of their own, where the model does not declare them."""
    changed = onnx.NodeProto()
    changed.CopyFrom(node)
    changed.input.extend([""] * (first_input + len(states) - len(changed.input)))
    nodes, found = [changed], []
    for at, name, axes, datatype in states:
        final = node.output[first_output + at]
        if graph.lengths and graph.values[final].track(padding_key(graph.axis)).is_lost:
            raise Obstacle("it runs past the lengths of rows, so that its state at the end of a row is not known")
        initial = initial_of(graph, changed.input[first_input + at])
        if initial.kind is Beginning.DECLARED:
            continue
        is_zeros = initial.kind is Beginning.ZEROS
        default = manifest_pb2.DEFAULT_ZEROS if is_zeros else manifest_pb2.DEFAULT_RECORDED
        changed.input[first_input + at] = name
        nodes.append(onnx.helper.make_node("Identity", [final], [f"{name}_n"], name=f"{name}_n"))
        found.append(
            FoundState(
                manifest_pb2.Tensor(name=name, datatype=datatype, axes=axes, default=default),
                manifest_pb2.Tensor(name=f"{name}_n", datatype=datatype, axes=axes, continues_as=name),
                computed="" if is_zeros else initial.tensor,
            )
        )
    return Place(number, {number: nodes}, [], found)


def needed_inputs(graph: onnx.GraphProto, node: onnx.NodeProto, body: onnx.GraphProto, count: int) -> list[int]:
    """Give the numbers of the inputs, states and steps, of which the results are made that the graph reads.

    Args:
        graph: Graph in which the Scan is.
        node: Scan of which each result has a name.
        body: Body of the Scan.
        count: Number of states, which are the first inputs and outputs of the body.
    """
    behind: set[str] = set()
    for at in _read_results(graph, node, needed_states(graph, node, body, count)):
        behind |= names_behind(body, body.output[at].name)
    return [at for at, value in enumerate(body.input) if value.name in behind]


def _read_results(graph: onnx.GraphProto, node: onnx.NodeProto, states: Sequence[int]) -> set[int]:
    read = {name for each in graph.node for name in each.input} | {value.name for value in graph.output}
    return {*states, *(at for at, name in enumerate(node.output) if name in read)}


def needed_states(graph: onnx.GraphProto, node: onnx.NodeProto, body: onnx.GraphProto, count: int) -> list[int]:
    """Give the numbers of the states on which a result depends that the graph reads.

    Args:
        graph: Graph in which the Scan is.
        node: Scan of which each result has a name.
        body: Body of the Scan.
        count: Number of states, which are the first inputs and outputs of the body.
    """
    waiting = [*_read_results(graph, node, [])]
    inputs = {value.name: at for at, value in enumerate(body.input)}
    needed: set[int] = set()
    seen: set[int] = set()
    while waiting:
        at = waiting.pop()
        if at in seen:
            continue
        seen.add(at)
        states = {inputs[name] for name in names_behind(body, body.output[at].name) if inputs.get(name, count) < count}
        if at < count:
            states.add(at)  # its last value is read, or decides what is
        needed |= states
        waiting += states
    return sorted(needed)


def names_behind(body: onnx.GraphProto, name: str) -> set[str]:
    """Name all that a tensor of a body is computed of; of an operator with a body of its own, all of the outer one."""
    makers = {result: node for node in body.node for result in node.output}
    found: set[str] = set()
    waiting = [name]
    while waiting:
        at = waiting.pop()
        if at in found:
            continue
        found.add(at)
        maker = makers.get(at)
        if maker is not None:
            waiting += maker.input
            if any(each.type == onnx.AttributeProto.GRAPH for each in maker.attribute):
                waiting += [value.name for value in body.input]
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
