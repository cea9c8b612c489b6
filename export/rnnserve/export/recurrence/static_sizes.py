"""Sizes that the graph reads of axes which the exporter has fixed: numbers, known before any run."""

import onnx_ir as ir

from rnnserve.export.recurrence.graph_values import integers_of

__all__ = ["inferred_shape", "reshaped_size", "static_sizes"]


def static_sizes(node: ir.Node) -> list[int] | int | None:
    """Give the sizes that a node takes from a shape, where all of them are fixed; None elsewhere.

    The exporter writes `x.shape[-1]` as an entry of Shape, and `x.std(-1)` divides by it, whether or not the axis may
    vary. Only axes that are numbers in the captured program count: a batch of one is not among them.

    Args:
        node: Any; a Shape, or a Gather or Slice of one.
    """
    if node.domain not in ("", "ai.onnx") or not node.inputs or node.inputs[0] is None:
        return None
    if node.op_type == "Shape":
        return _numbers(_sizes(node))
    shape = node.inputs[0].producer()
    if node.op_type not in ("Gather", "Slice") or shape is None or shape.op_type != "Shape":
        return None
    sizes = _sizes(shape)
    if sizes is None:
        return None
    given = [integers_of(value) for value in node.inputs[1:]]
    if node.op_type == "Gather":
        index = node.inputs[1]
        scalar = index is not None and index.const_value is not None and index.const_value.shape.rank() == 0
        if not given[0] or not all(-len(sizes) <= at < len(sizes) for at in given[0]):
            return None
        found = _numbers([sizes[at] for at in given[0]])
        return found[0] if scalar and found else found
    if any(each is None or len(each) != 1 for each in given):
        return None
    (start,), (end,), *rest = (each or [0] for each in given)
    return _numbers(sizes[slice(start, end, rest[1][0] if len(rest) > 1 else 1)])


def reshaped_size(node: ir.Node) -> ir.Value | None:
    """Give the one entry of Shape that a node makes a list of again, after a Squeeze; None for other nodes.

    So the exporter writes each size of `x.reshape(batch, steps, -1)`: Shape, Squeeze, Reshape to (-1,), Concat.
    """
    if node.op_type != "Reshape" or integers_of(node.inputs[1]) not in ([-1], [1]) or node.inputs[0] is None:
        return None
    number = node.inputs[0].producer()
    value = number.inputs[0] if number is not None and number.op_type == "Squeeze" else None
    return value if value is not None and _is_one_entry(value.producer()) else None


def inferred_shape(node: ir.Node) -> list[int] | None:
    """Give the shape that a node reshapes to with -1 in the place of its only size that is read; None for other nodes.

    A reshape that is possible at all gives the same either way, without a Shape and a Concat in each run.
    """
    shape = node.inputs[1].producer() if node.op_type == "Reshape" and node.inputs[1] is not None else None
    if shape is None or shape.op_type != "Concat":
        return None
    sizes: list[int] = []
    for value in shape.inputs:
        known = integers_of(value)
        if known is None and value is not None and (_is_one_entry(value.producer()) or value.shape == ir.Shape([1])):
            known = [-1]
        if known is None:
            return None
        sizes += known
    return sizes if sizes.count(-1) == 1 and all(size > 0 or size == -1 for size in sizes) else None


def _is_one_entry(shape: ir.Node | None) -> bool:
    """Whether a node is a Shape that gives one size."""
    if shape is None or shape.op_type != "Shape" or not {"start", "end"} <= set(shape.attributes):
        return False
    start, end = (shape.attributes[name].as_int() for name in ("start", "end"))
    return end == start + 1


def _sizes(shape: ir.Node) -> list[int | ir.SymbolicDim] | None:
    """Give what Shape gives, as far as it is known; None where not even the number of axes is."""
    value = shape.inputs[0]
    if value is None or value.shape is None:
        return None
    start, end = (shape.attributes[name].as_int() if name in shape.attributes else None for name in ("start", "end"))
    return list(value.shape)[start:end]


def _numbers(sizes: list[int | ir.SymbolicDim] | None) -> list[int] | None:
    numbers = [size for size in sizes or [] if isinstance(size, int)]
    return None if sizes is None or len(numbers) < len(sizes) else numbers
