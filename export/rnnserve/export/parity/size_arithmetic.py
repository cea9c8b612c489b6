"""Whether a graph computes with the sizes of its inputs: what is right at one length may be wrong at the next then."""

from collections.abc import Iterator

import onnx

__all__ = ["computes_with_sizes"]

_MOVES = frozenset(
    {"Add", "Cast", "Concat", "Gather", "Identity", "Max", "Min", "Mul", "Neg", "Reshape", "Slice", "Squeeze", "Sub"}
    | {"Unsqueeze"}
)
"""Through these a size stays a size: whole numbers that are right wherever they are small."""

_ROUNDS = frozenset({"Div", "Mod"})
_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16)


def computes_with_sizes(model: bytes) -> bool:
    """Whether a graph divides a size, makes a float of one, or holds Resize, which does so by itself.

    Args:
        model: The bytes of an ONNX file.
    """
    sizes: set[str] = set()
    for node in _nodes(onnx.load_model_from_string(model).graph):
        if node.op_type == "Resize":
            return True
        if node.op_type in ("Shape", "Size"):
            sizes.update(node.output)
        elif not sizes.isdisjoint(node.input):
            if node.op_type in _ROUNDS or (node.op_type == "Cast" and _type_of(node) in _FLOATS):
                return True
            if node.op_type in _MOVES:
                sizes.update(node.output)
    return False


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Give the nodes in order, those of a loop's body where the loop is."""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _nodes(attribute.g)
        yield node


def _type_of(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "to"), 0)
