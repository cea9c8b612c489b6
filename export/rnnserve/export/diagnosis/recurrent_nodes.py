"""Comparing the recurrent operators of an ONNX file with those of a right export: attributes, weights, lengths."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from rnnserve.export.diagnosis.graph_values import GraphValues
from rnnserve.export.parity.tolerances import SAME_WEIGHTS

__all__ = ["compare_recurrent_nodes", "layout_faults", "node_title"]

_Array = npt.NDArray[Any]

_GATES = {"RNN": "i", "GRU": "zrh", "LSTM": "iofc"}
_ACTIVATIONS = {"RNN": ["tanh"], "GRU": ["sigmoid", "tanh"], "LSTM": ["sigmoid", "tanh", "tanh"]}
_LENGTHS, _INITIAL_H, _INITIAL_C = 4, 5, 6  # positions among the operators' inputs


def layout_faults(model: onnx.ModelProto) -> Iterator[str]:
    """Name recurrent operators with the batch-first layout, which onnxruntime does not run."""
    for node in model.graph.node:
        layout = next((attribute.i for attribute in node.attribute if attribute.name == "layout"), 0)
        if node.op_type in _GATES and layout:
            yield (
                f'node "{node.name or node.output[0]}" ({node.op_type}) has layout={layout}, which onnxruntime does '
                "not run; transpose its input and outputs, and leave layout out"
            )


def compare_recurrent_nodes(found: GraphValues, right: GraphValues) -> Iterator[str]:
    """Compare the recurrent operators of two graphs one by one, in topological order.

    Args:
        found: Values of the file.
        right: Values of a right export of the same module.

    Yields:
        A sentence for each difference that changes results.
    """
    nodes, expected = ([node for node in graph.graph if node.op_type in _GATES] for graph in (found, right))
    kinds, expected_kinds = ([node.op_type for node in side] for side in (nodes, expected))
    if kinds != expected_kinds:
        yield (
            f"its recurrent operators are {', '.join(kinds) or 'none'}; a right export of the module has "
            f"{', '.join(expected_kinds) or 'none'}"
        )
        return
    for node, counterpart in zip(nodes, expected, strict=True):
        for difference in _differences(found, node, right, counterpart):
            yield f"{node_title(node)} {difference}"


def node_title(node: ir.Node) -> str:
    """Name a node for people; by its first result where it has no name."""
    return f'node "{node.name or node.outputs[0].name}" ({node.op_type})'


def _differences(found: GraphValues, node: ir.Node, right: GraphValues, expected: ir.Node) -> Iterator[str]:
    yield from _attribute_differences(node, expected)
    yield from _weight_differences(found, node, right, expected)
    if right.is_variable(expected, _LENGTHS) and not found.is_variable(node, _LENGTHS):
        has = "no sequence_lens" if found.input_of(node, _LENGTHS) is None else "a constant sequence_lens"
        yield f"has {has}: it ignores the lengths, and runs into the padding"
    if right.is_variable(expected, _INITIAL_H) and not found.is_variable(node, _INITIAL_H):
        yield "has no initial_h, or a constant one: it ignores the initial state"
    if _are_states_swapped(found, node, right, expected):
        yield "has initial_h and initial_c swapped"


def _are_states_swapped(found: GraphValues, node: ir.Node, right: GraphValues, expected: ir.Node) -> bool:
    h, c = (found.input_of(node, at) for at in (_INITIAL_H, _INITIAL_C))
    right_h, right_c = (right.input_of(expected, at) for at in (_INITIAL_H, _INITIAL_C))
    if h is None or c is None or right_h is None or right_c is None:
        return False
    return not _same(h, right_h) and _same(h, right_c) and _same(c, right_h)


def _attribute_differences(node: ir.Node, expected: ir.Node) -> Iterator[str]:
    resets = [_integer(side, "linear_before_reset") for side in (node, expected)]
    if node.op_type == "GRU" and resets[0] != resets[1]:
        yield (
            f"has linear_before_reset={resets[0]}: a GRU of another formula. PyTorch multiplies by the reset gate "
            f"after the hidden weights; set linear_before_reset={resets[1]}"
        )
    directions = [_text(side, "direction", "forward") for side in (node, expected)]
    if directions[0] != directions[1]:
        yield f'has direction "{directions[0]}"; the module\'s layer is "{directions[1]}"'
    activations = [_activations(side) for side in (node, expected)]
    if activations[0] != activations[1]:
        yield f"has the activations {', '.join(activations[0])}; the module has {', '.join(activations[1])}"
    if _integer(node, "input_forget") and not _integer(expected, "input_forget"):
        yield "has input_forget=1: it couples the input and the forget gate, which the module does not"
    if "clip" in node.attributes and "clip" not in expected.attributes:
        yield f"has clip={node.attributes['clip'].as_float():g}: it cuts values off, which the module does not"


def _weight_differences(found: GraphValues, node: ir.Node, right: GraphValues, expected: ir.Node) -> Iterator[str]:
    """Compare weights; where they differ, try other orders of directions and gates."""
    sides = ((found, node), (right, expected))
    weights, rights = ([graph.input_of(side, at) for at in (1, 2)] for graph, side in sides)
    pairs = [(w, r) for w, r in zip(weights, rights, strict=True) if w is not None and r is not None]
    if len(pairs) != 2 or any(w.shape != r.shape for w, r in pairs):
        shapes = [None if w is None else list(w.shape) for w in weights]
        yield f"has weights W and R of shapes {shapes[0]} and {shapes[1]}, unlike the module's"
        return
    if not all(_same(w, r) for w, r in pairs):
        yield _explained(node.op_type, pairs)
        return
    biases = [_effective_bias(node.op_type, graph.input_of(side, 3), weights[1]) for graph, side in sides]
    if not _same(biases[0], biases[1]):
        distance = float(np.abs(biases[0] - biases[1]).max())
        yield f"has other biases B than the module, up to {distance:.3g} apart"


def _explained(operator: str, pairs: list[tuple[_Array, _Array]]) -> str:
    gates = _GATES[operator]
    for swapped in (False, True):
        for order in itertools.permutations(range(len(gates))):
            if all(_same(w, _rearranged(r, order, len(gates), swapped=swapped)) for w, r in pairs):
                has = ", ".join(gates[at] for at in order)
                texts = ["has its two directions swapped: the forward weights run backwards"] * swapped
                if list(order) != sorted(order):
                    texts.append(f"has its gates in the order {has}; ONNX's is {', '.join(gates)}")
                return " and ".join(texts)
    distances = ", ".join(
        f"{name} up to {float(np.abs(w - r).max()):.3g} apart"
        for name, (w, r) in zip(("W", "R"), pairs, strict=True)
        if not _same(w, r)
    )
    return f"has other weights than the module: {distances}"


def _rearranged(weights: _Array, order: tuple[int, ...], gates: int, *, swapped: bool) -> _Array:
    """Reorder weights (directions, gates * hidden, …)."""
    blocks = np.split(weights[::-1] if swapped else weights, gates, axis=1)
    return np.concatenate([blocks[at] for at in order], axis=1)


def _effective_bias(operator: str, bias: _Array | None, recurrent: _Array | None) -> _Array:
    """What the biases (directions, 2 * gates * hidden) add to each gate; a GRU's h keeps its two apart."""
    assert recurrent is not None  # noqa: S101 - compared before
    directions, rows, hidden = recurrent.shape
    both = np.zeros((directions, 2 * rows)) if bias is None else bias
    of_input, of_state = both[:, :rows], both[:, rows:]
    if operator != "GRU":
        return np.asarray(of_input + of_state)
    joined = of_input[:, : 2 * hidden] + of_state[:, : 2 * hidden]
    return np.concatenate([joined, of_input[:, 2 * hidden :], of_state[:, 2 * hidden :]], axis=1)


def _same(some: _Array, others: _Array) -> bool:
    return some.shape == others.shape and bool(
        np.abs(some.astype(np.float64) - others).max(initial=0.0) <= SAME_WEIGHTS
    )


def _integer(node: ir.Node, name: str) -> int:
    attribute = node.attributes.get(name)
    return 0 if attribute is None else attribute.as_int()


def _text(node: ir.Node, name: str, default: str) -> str:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_string()


def _activations(node: ir.Node) -> list[str]:
    attribute = node.attributes.get("activations")
    directions = 2 if _text(node, "direction", "forward") == "bidirectional" else 1
    if attribute is None:
        return _ACTIVATIONS[node.op_type] * directions
    return [name.lower() for name in attribute.as_strings()]
