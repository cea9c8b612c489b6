"""A Scan over the rows of a batch, whose body computes one row: what the body carries is carried for each row.

So are modules that take no batch, and foreign files of one row. The body is a graph of its own, in which states are
found as in any other; each gets a first axis of rows.
"""

from collections.abc import Sequence
from typing import Protocol

import onnx

from rnnserve.export.analysis import Decision
from rnnserve.export.analysis.values import size_of
from rnnserve.export.found_states.known_graph import KnownGraph
from rnnserve.export.found_states.needed_states import captured_names
from rnnserve.export.found_states.place import FoundState, Obstacle, Place, datatype_of
from rnnserve.export.found_states.reasons import UNSEEN, undecided_in_words
from rnnserve.export.subgraphs import rename
from rnnserve.protos import manifest_pb2
from rnnserve.protos.protocol_words import BATCH

__all__ = ["find_in_rows"]

_WITHIN = "/row"
Tensors = Sequence[manifest_pb2.Tensor]


class _Found(Protocol):
    @property
    def states(self) -> Sequence[FoundState]: ...
    @property
    def model(self) -> onnx.ModelProto | None: ...
    @property
    def reason(self) -> str: ...
    @property
    def decision(self) -> Decision: ...


class _Find(Protocol):
    def __call__(self, model: onnx.ModelProto, inputs: Tensors, outputs: Tensors) -> _Found: ...


def find_in_rows(graph: KnownGraph, number: int, node: onnx.NodeProto, find: _Find) -> Place | None:
    """Find what the body of a Scan over rows carries from step to step; None where that is nothing.

    Args:
        graph: The graph.
        number: Number of the node.
        node: The Scan.
        find: `find_states`.

    Raises:
        Obstacle: If a sequence cannot be cut there.
    """
    body = next(each.g for each in node.attribute if each.name == "body")
    scanned = next(int(each.i) for each in node.attribute if each.name == "num_scan_inputs")
    count = len(node.input) - scanned
    axes = next((list(each.ints) for each in node.attribute if each.name == "scan_input_axes"), [0] * scanned)
    places = dict(zip(node.input[count:], axes, strict=True))
    if not all(_lies_along_rows(graph, name, at) for name, at in places.items()) or not _keeps_states(body, count):
        return None
    inputs = [
        _of_row(graph, name, value.name, places.get(name)) for name, value in zip(node.input, body.input, strict=True)
    ]
    outputs = [
        _of_row(graph, name, value.name, 0)
        for name, value in list(zip(node.output, body.output, strict=True))[count:]
        if name
    ]
    if not any(axis.size < 0 for tensor in inputs for axis in tensor.axes):
        return None
    if any(graph.depends_on_steps(name) for name in captured_names(body)):
        raise Obstacle("each of its rows reads what is computed of the steps, or of their number, before it")
    found = find(_as_model(graph.model, body), inputs, outputs)
    if found.reason:
        raise Obstacle(found.reason)
    if found.decision.readers:
        raise Obstacle(undecided_in_words(found.decision) + UNSEEN)
    if found.model is None:
        return None
    return _place(number, node, graph.model.graph, found.states, found.model)


def _lies_along_rows(graph: KnownGraph, name: str, at: int) -> bool:
    try:
        return graph.rows_at(name) == at % graph.values[name].rank
    except (Obstacle, KeyError):
        return False


def _keeps_states(body: onnx.GraphProto, count: int) -> bool:
    """Whether no row reaches another: what the Scan itself carries is passed on as it is."""
    copies = {each.output[0]: each.input[0] for each in body.node if each.op_type == "Identity"}
    pairs = list(zip(body.input, body.output, strict=False))[:count]
    used = {name for each in body.node if each.op_type != "Identity" for name in each.input}
    return all(copies.get(after.name) == before.name and before.name not in used for before, after in pairs)


def _of_row(graph: KnownGraph, name: str, inside: str, rows: int | None) -> manifest_pb2.Tensor:
    """Describe a tensor of the body by that of the graph, of which it is one row."""
    value = graph.values[name]
    datatype = datatype_of(graph.element_types.get(name, 0))
    tensor = manifest_pb2.Tensor(name=inside, datatype=datatype)
    for at, axis in enumerate(value.axes):
        size = size_of(axis)
        if rows is not None and at == rows % value.rank:
            continue
        if size.number is not None:
            tensor.axes.add(name=f"axis_{at}", size=size.number)
        elif at == graph.steps_at(name):
            tensor.axes.add(name=graph.axis, size=-1)
        else:
            raise Obstacle("its rows have axes that are neither fixed nor steps")
    return tensor


def _as_model(model: onnx.ModelProto, body: onnx.GraphProto) -> onnx.ModelProto:
    """Give a body as a model, with the constants of the graph; what it reads of the graph's nodes is not there."""
    inner = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    inner.graph.CopyFrom(body)
    inner.graph.initializer.extend(model.graph.initializer)
    return inner


def _place(
    number: int, node: onnx.NodeProto, graph: onnx.GraphProto, states: Sequence[FoundState], cut: onnx.ModelProto
) -> Place:
    if any(state.computed or state.default is not None for state in states):
        raise Obstacle("a row of it begins with something else than zeros")
    count = len(states)
    names = [name for state in states for name in (state.initial.name, state.final.name)]
    body = next(each.g for each in node.attribute if each.name == "body")
    known = {tensor.name for tensor in (*body.initializer, *graph.initializer)}
    inner = onnx.GraphProto()
    inner.CopyFrom(cut.graph)
    given, made = list(inner.input), list(inner.output)
    del inner.input[:], inner.output[:], inner.initializer[:]
    inner.input.extend(given)
    inner.output.extend([*body.output, *made[len(made) - count :]])
    inner.initializer.extend(body.initializer)
    rename(inner, {name: f"{name}{_WITHIN}" for name in names})
    for value in inner.input:
        value.type.tensor_type.ClearField("shape")
    for value in inner.output:
        value.type.tensor_type.ClearField("shape")
    scan = onnx.NodeProto()
    scan.CopyFrom(node)
    scan.input.extend(state.initial.name for state in states)
    scan.output.extend(state.final.name for state in states)
    for each in scan.attribute:
        if each.name == "body":
            each.g.CopyFrom(inner)
        elif each.name == "num_scan_inputs":
            each.i += count
        elif each.name.startswith(("scan_input_", "scan_output_")):
            each.ints.extend([0] * count)
    rows = [FoundState(_with_rows(state.initial), _with_rows(state.final)) for state in states]
    new = [tensor for tensor in cut.graph.initializer if tensor.name not in known]
    return Place(number, {number: [scan]}, new, rows)


def _with_rows(tensor: manifest_pb2.Tensor) -> manifest_pb2.Tensor:
    axes = [manifest_pb2.Axis(name=BATCH, size=-1), *tensor.axes]
    result = manifest_pb2.Tensor()
    result.CopyFrom(tensor)
    del result.axes[:]
    result.axes.extend(axes)
    return result
