"""Loops over no steps or no rows: computed with one of zeros, which is left out of the results.

onnxruntime's Scan divides by the size of a step, and its GRU and LSTM allocate as many bytes as a row has: without rows
they end the process.
"""

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from rnnserve.export.operators.nodes_before import NodesBefore

__all__ = ["guard_loop", "guard_rows"]

_INT64 = ir.DataType.INT64

_INPUT, _LENGTHS, _INITIAL, _INITIAL_CELL = 0, 4, 5, 6
_ROWS_OF_INPUTS = {_INPUT: (1, 3), _LENGTHS: (0, 1), _INITIAL: (1, 3), _INITIAL_CELL: (1, 3)}
"""By place, which axis of a recurrent operator's input has the rows, and of how many."""

_ROWS_OF_OUTPUTS = (2, 1, 1)


def guard_loop(graph: ir.Graph, node: ir.Node, shape: ir.Shape) -> None:
    """Let a loop of ours compute with a row or a step of zeros where there is none, and cut that off what it gives.

    Args:
        graph: Graph of the loop.
        node: A Scan of one of `TRANSLATIONS`: its states and outputs have the shape of what it is over, states without
            the axis of the steps; what else it is over counts the steps.
        shape: Shape of what it is over.
    """
    states = len(node.inputs) - node.attributes["num_scan_inputs"].as_int()
    axis = node.attributes["scan_input_axes"].as_ints()[0]
    maker = NodesBefore(graph, node, f"{node.outputs[0].name}/some")
    given = [value for value in node.inputs if value is not None]
    ranks = [len(shape) - 1 if at < states else len(shape) if at == states else 1 for at in range(len(given))]
    for at, (value, rank) in enumerate(zip(given, ranks, strict=True)):
        if rank:
            node.replace_input_with(at, _with_some(maker, value, range(rank), rank))
    steps = maker.make("Gather", maker.make("Shape", given[states]), maker.constant(np.array(axis), _INT64), axis=0)
    is_some = maker.make("Cast", steps, to=ir.DataType.BOOL.value)
    for at, result in enumerate(node.outputs):
        if not result.uses() and not result.is_graph_output():
            continue
        kept = _renamed(result)
        like = min(at, states)
        start = maker.constant(np.zeros(ranks[like]), _INT64)
        size = maker.make("Shape", given[like])
        if at >= states:
            graph.insert_after(node, ir.node("Slice", [result, start, size], outputs=[kept]))
            continue
        chosen = ir.node("Where", [is_some, result, node.inputs[at]])
        chosen.outputs[0].name = f"{kept.name}/after_some"
        last = [chosen.outputs[0], start, size] if ranks[like] else [chosen.outputs[0]]
        graph.insert_after(node, [chosen, ir.node("Slice" if ranks[like] else "Identity", last, outputs=[kept])])


def guard_rows(graph: ir.Graph, node: ir.Node) -> None:
    """Let a GRU or an LSTM compute a row of zeros where there is none, and cut it off its results.

    Args:
        graph: Graph of the node.
        node: The operator, (sequence, batch, features).
    """
    maker = NodesBefore(graph, node, f"{node.outputs[0].name}/some_rows")
    source = node.inputs[_INPUT]
    assert source is not None  # noqa: S101 - the operator has one
    rows = maker.add(ir.node("Shape", [source], {"start": 1, "end": 2}))
    for at, (axis, rank) in _ROWS_OF_INPUTS.items():
        value = node.inputs[at] if at < len(node.inputs) else None
        if value is not None:
            fill = maker.constant(np.array(1), value.dtype or ir.DataType.INT32) if at == _LENGTHS else None
            node.replace_input_with(at, _with_some(maker, value, [axis], rank, fill))
    for result, axis in zip(node.outputs, _ROWS_OF_OUTPUTS, strict=False):
        if result.uses() or result.is_graph_output():
            kept = _renamed(result)
            start, along = maker.constant(np.array([0]), _INT64), maker.constant(np.array([axis]), _INT64)
            graph.insert_after(node, ir.node("Slice", [result, start, rows, along], outputs=[kept]))


def _renamed(result: ir.Value) -> ir.Value:
    """Give what uses a result another value instead, which has its name."""
    kept = ir.Value(name=result.name, type=result.type, shape=result.shape)
    result.name, result.shape = f"{kept.name}/with_some", None  # onnxruntime takes values of one shape for one buffer
    result.replace_all_uses_with(kept, replace_graph_outputs=True)
    return kept


def _with_some(
    maker: NodesBefore, value: ir.Value, axes: Collection[int], rank: int, fill: ir.Value | None = None
) -> ir.Value:
    """Add zeros, or another value, along those of some axes that are empty, so that they have a size of 1."""
    least = maker.constant(np.isin(np.arange(rank), list(axes)), _INT64)
    missing = maker.make("Sub", least, maker.make("Min", maker.make("Shape", value), least))
    pads = maker.make("Concat", maker.constant(np.zeros(rank), _INT64), missing, axis=0)
    padded = maker.make("Pad", value, pads, *([] if fill is None else [fill]))
    padded.type = value.type
    return padded
