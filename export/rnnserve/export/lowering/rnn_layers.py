"""Replacing the RNN operators of a model by loops."""

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir

from rnnserve.export.lowering.node_builder import NodeBuilder
from rnnserve.export.lowering.rnn_loop import Layer, Lengths, add_layer, add_lengths
from rnnserve.export.onnx_files import load_model, save_model
from rnnserve.export.operators.graphs import remove_unused

__all__ = ["lower_rnn"]

_ACTIVATIONS = ("Tanh", "Relu")
_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
_ATTRIBUTES = {"activations", "direction", "hidden_size", "layout"}
_INPUT, _WEIGHT, _RECURRENT, _BIAS, _LENGTHS, _INITIAL = range(6)


def lower_rnn(model: bytes) -> bytes | None:
    """Replace each RNN operator by a loop: inputs, outputs and their axes stay, and so do all other operators.

    Those that are left as they are: within the body of a loop, with weights that depend on the model's inputs, with
    clipping or with other activations than tanh and relu.

    Args:
        model: The bytes of an ONNX file of opset 15 or newer, as `export_onnx` gives it.

    Returns:
        Those of the other file, the same for the same model; None where no operator is replaced.

    Raises:
        onnx.checker.ValidationError: If the result is no valid ONNX model.
    """
    lowered = load_model(model)
    graph = lowered.graph
    found = [(node, layer) for node in graph if node.op_type == "RNN" and (layer := _layer_of(node)) is not None]
    if not found:
        return None
    known: dict[tuple[ir.Value, str], Lengths] = {}
    for number, (node, layer) in enumerate(found):
        path = (node.name or "").rpartition("/")[0]  # of its module
        _replace(graph, node, layer, NodeBuilder(f"{path}/loop_{number}" if path else f"loop_{number}"), known)
    remove_unused(graph)
    data = save_model(lowered)
    onnx.checker.check_model(data, full_check=True)
    return data


def _layer_of(node: ir.Node) -> Layer | None:
    """Read an RNN operator; None where a loop would not be the same."""
    given = [*node.inputs, *[None] * (_INITIAL + 1 - len(node.inputs))]
    input, weight, recurrent = given[_INPUT], _constant(given[_WEIGHT]), _constant(given[_RECURRENT])
    bias = _constant(given[_BIAS])
    if input is None or weight is None or recurrent is None or (bias is None) != (given[_BIAS] is None):
        return None
    if not node.attributes.keys() <= _ATTRIBUTES or (
        "layout" in node.attributes and node.attributes["layout"].as_int()
    ):
        return None
    direction = node.attributes["direction"].as_string() if "direction" in node.attributes else "forward"
    count = len(_DIRECTIONS[direction])
    activations: Sequence[str] = ["Tanh"] * count
    if "activations" in node.attributes:
        activations = node.attributes["activations"].as_strings()
    if len(set(activations)) != 1 or activations[0] not in _ACTIVATIONS:
        return None
    hidden = weight.shape[1]
    return Layer(
        input,
        weight,
        recurrent,
        None if bias is None else bias[:, :hidden] + bias[:, hidden:],
        given[_INITIAL],
        activations[0],
        _DIRECTIONS[direction],
    )


def _constant(value: ir.Value | None) -> np.ndarray | None:
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return value.const_value.numpy()


def _replace(
    graph: ir.Graph,
    node: ir.Node,
    layer: Layer,
    made: NodeBuilder,
    known: dict[tuple[ir.Value, str], Lengths],
) -> None:
    """Put a loop in an operator's place.

    Args:
        graph: Graph that holds the operator.
        node: The operator.
        layer: Layer that it computes.
        made: Builder without nodes yet.
        known: Lengths that were made for layers before, by the lengths and the name of the sequence axis.
    """
    given = node.inputs[_LENGTHS] if len(node.inputs) > _LENGTHS else None
    lengths = None
    if given is not None:
        steps = layer.input.shape[0] if layer.input.shape is not None else None
        name = steps.value if isinstance(steps, ir.SymbolicDim) else None
        lengths = known.get((given, name)) if name is not None else None
        if lengths is None:
            lengths = add_lengths(made, given, layer.input)
        if name is not None:
            known[given, name] = lengths
    before = [*node.outputs, *[None] * (2 - len(node.outputs))]
    is_used = [value is not None and (bool(value.uses()) or value.is_graph_output()) for value in before]
    after = add_layer(made, layer, lengths, gives_output=is_used[0], gives_state=is_used[1])
    for constant in made.constants:
        graph.initializers.add(constant)
    graph.insert_before(node, made.nodes)
    for old, new in zip(before, after, strict=True):
        if old is not None and new is not None:
            new.name, new.type, new.shape = old.name, old.type, old.shape
            old.replace_all_uses_with(new, replace_graph_outputs=True)
    graph.remove(node, safe=True)
