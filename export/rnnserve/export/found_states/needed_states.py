"""What the results of a Scan are made of: a running maximum carries its place, too, which few models give."""

from collections.abc import Iterator, Sequence

import onnx

__all__ = ["captured_names", "names_behind", "needed_inputs", "needed_states"]


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
