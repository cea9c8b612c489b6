"""From what the exporter gives to what is published: the names asked for, and nothing of the exporting machine."""

import onnx_ir as ir
import torch

from rnnserve.export.errors import WrongArguments
from rnnserve.export.recurrence.axes import Axes
from rnnserve.export.recurrence.trim import TRIM

__all__ = ["name_axes", "strip"]


def name_axes(program: torch.onnx.ONNXProgram, axes: Axes) -> None:
    """Give every dynamic axis the name asked for, wherever its size has come to.

    The size that `pad_packed_sequence` trims to, where no axis that was asked for is known to equal it, is called
    `longest` (`longest_1`, ... where there are several).

    Raises:
        WrongArguments: the module makes axes of different names one size.
    """
    names: dict[str, str] = {}
    for value, asked, label in zip(program.model.graph.inputs, axes.names, axes.labels, strict=True):
        for axis, name in asked.items():
            size = value.shape[axis] if value.shape is not None else None
            symbol = str(getattr(size, "value", size))
            if names.setdefault(symbol, name) != name:
                raise WrongArguments(
                    f'the module makes the axes "{names[symbol]}" and "{name}" (axis {axis} of `{label}`) one size, so '
                    "that they cannot be chosen apart: give them one name"
                )
    trimmed = [str(node.meta["val"].shape[0]) for node in program.exported_program.graph.nodes if node.target is TRIM]
    unnamed = dict.fromkeys(symbol for symbol in trimmed if symbol not in names and symbol.isidentifier())
    for number, symbol in enumerate(unnamed):
        names[symbol] = f"longest_{number}" if number else "longest"
    program.rename_axes(dict(names))


def strip(model: ir.Model) -> None:
    """Drop stack traces, fx text and whatever else tells of the exporting machine, in place."""
    model.metadata_props.clear()
    model.doc_string = None
    for graph in model.graphs():
        graph.metadata_props.clear()
        graph.doc_string = None
        for value in (*graph.inputs, *graph.initializers.values()):
            _strip_value(value)
        for node in graph:
            node.metadata_props.clear()
            node.doc_string = None
            for value in node.outputs:
                _strip_value(value)


def _strip_value(value: ir.Value) -> None:
    value.metadata_props.clear()
    value.doc_string = None
    if value.const_value is not None:
        value.const_value.metadata_props.clear()
        value.const_value.doc_string = None
