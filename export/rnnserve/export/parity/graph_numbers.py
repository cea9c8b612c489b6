"""Numbers by which a graph may treat some inputs unlike others: those that it names, and the sizes of its inputs."""

from collections.abc import Iterator

import onnx_ir as ir

__all__ = ["computes_with_sizes", "named_integers"]

_MOST_VALUES = 8
"""Values of a tensor that is looked at: larger ones are tables, and no numbers that somebody has written."""

_MOVES = frozenset(
    {"Add", "Cast", "Concat", "Gather", "Identity", "Max", "Min", "Mul", "Neg", "Reshape", "Slice", "Squeeze", "Sub"}
    | {"Unsqueeze"}
)
"""Through these a size stays a size: whole numbers that are right wherever they are small."""

_ROUNDS = frozenset({"Div", "Mod"})
_FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16)


def named_integers(model: ir.Model) -> list[int]:
    """Give the whole numbers among the small constants of a graph and its loops, in order."""
    found: set[int] = set()
    for tensor in _constants(model):
        if tensor.size <= _MOST_VALUES and tensor.dtype in (ir.DataType.INT64, ir.DataType.INT32):
            found.update(tensor.numpy().reshape(-1).tolist())
    return sorted(found)


def computes_with_sizes(model: ir.Model) -> bool:
    """Whether a graph divides a size, makes a float of one, or holds Resize, which does so by itself."""
    sizes: set[ir.Value | None] = set()
    for node in model.graph.all_nodes():
        if node.op_type == "Resize":
            return True
        if node.op_type in ("Shape", "Size"):
            sizes.update(node.outputs)
        elif not sizes.isdisjoint(node.inputs):
            if node.op_type in _ROUNDS or (node.op_type == "Cast" and node.attributes.get_int("to", 0) in _FLOATS):
                return True
            if node.op_type in _MOVES:
                sizes.update(node.outputs)
    return False


def _constants(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value.const_value
        for node in graph:
            for attribute in node.attributes.values():
                if attribute.type is ir.AttributeType.TENSOR:
                    yield attribute.as_tensor()
