"""Which states of a Scan its results are made of: a running maximum carries its place, too, which few models give."""

import onnx

__all__ = ["names_behind", "needed_states"]


def needed_states(graph: onnx.GraphProto, node: onnx.NodeProto, body: onnx.GraphProto, count: int) -> list[int]:
    """Give the numbers of the states on which a result depends that the graph reads.

    Args:
        graph: Graph in which the Scan is.
        node: Scan of which each result has a name.
        body: Body of the Scan.
        count: Number of states, which are the first inputs and outputs of the body.
    """
    read = {name for each in graph.node for name in each.input} | {value.name for value in graph.output}
    waiting = [at for at, name in enumerate(node.output) if name in read]
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
