"""Lists of tensors whose number is known, without ONNX sequences: `chunk`, `split`, `GRUCell`, `LSTMCell`.

The exporter divides with SplitToSequence and reads each part with SequenceAt: runtimes allocate a list, and copy each
part, in every run. Split and Slice give the same parts. Values are moved, never computed: the bits are the same.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from rnnserve.export.recurrence.graph_values import integers_of

__all__ = ["lists_to_tensors"]

_READERS = frozenset({"ConcatFromSequence", "SequenceAt", "SequenceLength"})


def lists_to_tensors(model: ir.Model) -> None:
    """Replace sequences whose parts are known by the parts themselves, in place.

    Sequences that something else reads, or at an index that is computed, stay as they are.
    """
    for graph in list(model.graphs()):
        for node in list(graph):
            if node.domain in ("", "ai.onnx") and node.op_type in ("SequenceConstruct", "SplitToSequence"):
                _replace_list(model.graph, node)


def _replace_list(main: ir.Graph, node: ir.Node) -> None:
    result = node.outputs[0]
    if result.is_graph_output() or any(use.op_type not in _READERS for use, _ in result.uses()):
        return
    indices = [integers_of(use.inputs[1]) for use, _ in result.uses() if use.op_type == "SequenceAt"]
    if None in indices:
        return
    read = [index[0] for index in indices if index is not None]
    whole = len(read) < len(result.uses())
    parts: Sequence[ir.Value | None] | None = (
        node.inputs if node.op_type == "SequenceConstruct" else _parts(main, node, read, whole=whole)
    )
    if not parts or not all(-len(parts) <= index < len(parts) for index in read):
        return
    for use, _ in list(result.uses()):
        _read_from(main, use, parts)


def _parts(main: ir.Graph, node: ir.Node, read: list[int], *, whole: bool) -> list[ir.Value | None] | None:
    """Give the parts that SplitToSequence makes; None where they are not known."""
    source = node.inputs[0]
    split = node.inputs[1] if len(node.inputs) > 1 else None
    sizes = integers_of(split)
    if source is None or split is None or not sizes or split.const_value is None:
        return None  # without sizes, all parts have one entry, and `keepdims` counts
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    if split.const_value.shape.rank() == 0:
        total = _size(source, axis)
        if total is None:
            return None if whole or not read or min(read) < 0 else _slices(main, node, axis, sizes[0], max(read))
        sizes = [min(sizes[0], total - start) for start in range(0, total, sizes[0])]
    given = _constant(main, node, np.array(sizes, np.int64), "sizes")
    made = ir.node("Split", [source, given], {"axis": axis}, num_outputs=len(sizes), name=f"{node.name}_parts")
    for at, part in enumerate(made.outputs):
        part.name = f"{node.outputs[0].name}_{at}"
        part.type = source.type
    _before(node, made)
    return list(made.outputs)


def _slices(main: ir.Graph, node: ir.Node, axis: int, size: int, last: int) -> list[ir.Value | None]:
    """Give the first parts of an axis of any size."""
    parts: list[ir.Value | None] = []
    where = _constant(main, node, np.array([axis], np.int64), "axis")
    for at in range(last + 1):
        start, end = (_constant(main, node, np.array([size * n], np.int64), f"{n}") for n in (at, at + 1))
        made = ir.node("Slice", [node.inputs[0], start, end, where], name=f"{node.name}_part_{at}")
        made.outputs[0].name, made.outputs[0].type = f"{node.outputs[0].name}_{at}", node.inputs[0].type  # type: ignore[union-attr]
        _before(node, made)
        parts.append(made.outputs[0])
    return parts


def _read_from(main: ir.Graph, use: ir.Node, parts: Sequence[ir.Value | None]) -> None:
    """Put what a reader of a list gives in the reader's place."""
    result = use.outputs[0]
    if use.op_type == "SequenceAt":
        index = integers_of(use.inputs[1]) or [0]
        part = parts[index[0]]
        if part is not None:
            part.shape = part.shape or result.shape
            _replace(use, part)
    elif use.op_type == "SequenceLength":
        _replace(use, _constant(main, use, np.array(len(parts), np.int64), "count"))
    else:
        axis = use.attributes["axis"].as_int()
        joined = list(parts)
        if "new_axis" in use.attributes and use.attributes["new_axis"].as_int():
            where = _constant(main, use, np.array([axis], np.int64), "axis")
            for at, part in enumerate(parts):
                made = ir.node("Unsqueeze", [part, where], name=f"{use.name}_{at}")
                made.outputs[0].name = f"{result.name}_{at}"
                made.outputs[0].type = result.type
                _before(use, made)
                joined[at] = made.outputs[0]
        made = ir.node("Concat", joined, {"axis": axis}, name=use.name)
        made.outputs[0].name, made.outputs[0].type, made.outputs[0].shape = result.name, result.type, result.shape
        _before(use, made)
        _replace(use, made.outputs[0])


def _size(value: ir.Value, axis: int) -> int | None:
    """Give the size of an axis, where the exporter has fixed it."""
    size = value.shape[axis] if value.shape is not None else None
    return size if isinstance(size, int) else None


def _constant(main: ir.Graph, node: ir.Node, array: np.ndarray, what: str) -> ir.Value:
    name = f"{node.outputs[0].name}_{what}"
    value = ir.Value(name=name, type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape(array.shape))
    value.const_value = ir.tensor(array, name=name)
    if name in main.initializers:
        return main.initializers[name]
    main.register_initializer(value)
    return value


def _before(node: ir.Node, made: ir.Node) -> None:
    assert node.graph is not None  # noqa: S101 - it is being walked
    node.graph.insert_before(node, made)


def _replace(node: ir.Node, value: ir.Value) -> None:
    assert node.graph is not None  # noqa: S101 - it is being walked
    node.outputs[0].replace_all_uses_with(value, replace_graph_outputs=True)
    node.graph.remove(node, safe=True)
