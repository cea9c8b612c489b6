"""Translating what is between `ScanBegin` and `ScanEnd` to the ONNX operator Scan.

The step's body becomes a graph of its own (https://onnx.ai/onnx/operators/onnx__Scan.html). It holds the nodes that
depend on the step; what they use of the rest (weights, the module's other inputs) they take from the graph around it.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import onnx_ir as ir

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.operators import MayBeEmpty, refuse_empty
from rnnserve.export.recurrence.scan_markers import BEGIN, DOMAIN, END

__all__ = ["refuse_empty_scans", "translate_scans"]


def refuse_empty_scans(model: ir.Model, may_be_empty: MayBeEmpty | None) -> None:
    """Let a node fail before what a scan is over has no steps, as in eager, or no rows, which ends onnxruntime.

    Args:
        model: Model with the markers, and with the shapes that torch.onnx has given to values.
        may_be_empty: Whether a size may be 0 for a request; None where none may.
    """
    if may_be_empty is None:
        return
    for end in [node for node in model.graph if node.domain == DOMAIN and node.op_type == END]:
        for at in range(end.attributes["states"].as_int() + end.attributes["outputs"].as_int(), len(end.inputs)):
            value = end.inputs[at]
            if value is not None and value.shape is not None:
                refused = np.array([may_be_empty(size) for size in value.shape], np.bool_)
                if refused.any():
                    refuse_empty(model.graph, end, at, refused, "a scan over no steps, or of no rows")


def translate_scans(model: ir.Model) -> None:
    """Replace the markers and the nodes between them by Scan, in place.

    Raises:
        UnsupportedModule: If a value of a single step is used outside the step.
    """
    graph = model.graph
    # A scan within the step of another one ends first, and is a node of that step when the outer one is translated.
    for end in [node for node in graph if node.domain == DOMAIN and node.op_type == END]:
        number = end.attributes["number"].as_int()
        begins = (node for node in graph if node.domain == DOMAIN and node.op_type == BEGIN)
        begin = next((node for node in begins if node.attributes["number"].as_int() == number), None)
        _translate(graph, begin, end, f"scan_{number}")
    model.opset_imports.pop(DOMAIN, None)


def _translate(graph: ir.Graph, begin: ir.Node | None, end: ir.Node, name: str) -> None:
    """Replace one pair of markers.

    Args:
        graph: Graph that holds them.
        begin: None where no node uses the step, so that the exporter has removed the marker.
        end: Marker whose inputs are states after the step, outputs of the step, states, sequences.
        name: Name of the body.
    """
    states, outputs = end.attributes["states"].as_int(), end.attributes["outputs"].as_int()
    dim, reverse = end.attributes["dim"].as_int(), end.attributes["reverse"].as_int()
    carried = end.inputs[states + outputs :]
    sequences = len(carried) - states
    body = _nodes_of_step(graph, begin, end) if begin is not None else []
    graph.remove(body)
    inputs = [
        *(_like(value, f"{name}/state_{position}") for position, value in enumerate(carried[:states])),
        *(_like(value, f"{name}/step_{position}", without=dim) for position, value in enumerate(carried[states:])),
    ]
    if begin is not None:
        for old, new in zip(begin.outputs, inputs, strict=True):
            old.replace_all_uses_with(new)
    results, copies = _results(end.inputs[: states + outputs], body, name)
    scan = ir.node(
        "Scan",
        carried,
        {
            "body": ir.Graph(inputs, results, nodes=[*body, *copies], name=name),
            "num_scan_inputs": sequences,
            "scan_input_axes": [dim] * sequences,
            "scan_input_directions": [reverse] * sequences,
            **({"scan_output_axes": [dim] * outputs, "scan_output_directions": [reverse] * outputs} if outputs else {}),
        },
        num_outputs=states + outputs,
        name=name,
        metadata_props=dict(end.metadata_props),
    )
    graph.insert_before(end, scan)
    for old, new in zip(end.outputs, scan.outputs, strict=True):
        new.name, new.type, new.shape = old.name, old.type, old.shape
        old.replace_all_uses_with(new, replace_graph_outputs=True)
    graph.remove(end, safe=True)
    if begin is not None:
        graph.remove(begin, safe=True)


def _nodes_of_step(graph: ir.Graph, begin: ir.Node, end: ir.Node) -> list[ir.Node]:
    """Give the nodes that depend on the step, in order.

    Raises:
        UnsupportedModule: If one of them is not for the step's results.
    """
    made = set(begin.outputs)
    nodes = []
    for node in graph:
        if node is not end and any(value in made for value in _used(node)):
            nodes.append(node)
            made.update(node.outputs)
    # Whatever a step's value is used for outside the step ends in a result of the module.
    if any(value.is_graph_output() for value in made):
        raise UnsupportedModule(
            "a value of a single step of scan is used outside the step. Let combine_fn return it, as a part of the "
            "state or of the step's output, and use what scan returns."
        )
    return nodes


def _used(node: ir.Node) -> Iterable[ir.Value | None]:
    """Give the values that a node uses, also within its graphs."""
    yield from node.inputs
    for attribute in node.attributes.values():
        if attribute.type is ir.AttributeType.GRAPH:
            yield from attribute.as_graph().outputs
            for inner in attribute.as_graph().all_nodes():
                yield from inner.inputs


def _like(value: ir.Value | None, name: str, without: int | None = None) -> ir.Value:
    """Make a value of the same type and shape, without the axis given."""
    assert value is not None  # noqa: S101 - the markers take tensors only
    shape = value.shape
    if shape is not None and without is not None:
        shape = ir.Shape([size for axis, size in enumerate(shape) if axis != without])
    return ir.Value(name=name, type=value.type, shape=shape)


def _results(
    of_step: Sequence[ir.Value | None], body: Sequence[ir.Node], name: str
) -> tuple[list[ir.Value], list[ir.Node]]:
    """Make the body's outputs, each the result of another node of the body, and the nodes that copy for this."""
    made = {value for node in body for value in node.outputs}
    results: list[ir.Value] = []
    copies = []
    for position, value in enumerate(of_step):
        assert value is not None  # noqa: S101 - the markers take tensors only
        if value not in made or value in results:
            copy = _like(value, f"{name}/result_{position}")
            copies.append(ir.node("Identity", [value], outputs=[copy]))
            results.append(copy)
        else:
            results.append(value)
    return results, copies
