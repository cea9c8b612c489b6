"""From what the exporter gives to what is published: the names asked for, and nothing of the exporting machine."""

import re
from collections.abc import Iterator
from typing import cast

import onnx_ir as ir
import torch

from rnnserve.export.errors import WrongArguments
from rnnserve.export.recurrence.axes import Axes
from rnnserve.export.recurrence.trim import TRIM

__all__ = ["name_axes", "strip"]

_SYMBOL = re.compile(r"\b[A-Za-z_]\w*")


def name_axes(program: torch.onnx.ONNXProgram, axes: Axes) -> None:
    """Give every dynamic axis the name asked for, wherever its size has come to.

    The size that `pad_packed_sequence` trims to, where no axis that was asked for is known to equal it, is called
    `longest` (`longest_1`, ... where there are several).

    Raises:
        WrongArguments: the module makes axes of different names one size.
    """
    captured = cast(torch.export.ExportedProgram, program.exported_program)
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
    trimmed = [str(node.meta["val"].shape[0]) for node in captured.graph.nodes if node.target is TRIM]
    unnamed = dict.fromkeys(symbol for symbol in trimmed if symbol not in names and symbol.isidentifier())
    for number, symbol in enumerate(unnamed):
        names[symbol] = f"longest_{number}" if number else "longest"
    for value in _values(program.model):
        if value.shape is not None:
            value.shape = ir.Shape([_renamed(size, names) for size in value.shape])


def _renamed(size: int | ir.SymbolicDim, names: dict[str, str]) -> int | ir.SymbolicDim:
    """A size with the names for its symbols; an expression (`s1 - 2`) keeps its form."""
    if isinstance(size, int) or size.value is None:
        return size
    return ir.SymbolicDim(_SYMBOL.sub(lambda symbol: names.get(symbol[0], symbol[0]), size.value))


def _values(model: ir.Model) -> Iterator[ir.Value]:
    for graph in model.graphs():
        yield from graph.inputs
        yield from graph.initializers.values()
        for node in graph:
            yield from node.outputs


def strip(model: ir.Model) -> None:
    """Drop stack traces, fx text and whatever else tells of the exporting machine, in place."""
    model.metadata_props.clear()
    model.doc_string = None
    for graph in model.graphs():
        graph.metadata_props.clear()
        graph.doc_string = None
        for node in graph:
            node.metadata_props.clear()
            node.doc_string = None
    for value in _values(model):
        value.metadata_props.clear()
        value.doc_string = None
        if value.const_value is not None:
            value.const_value.metadata_props.clear()
            value.const_value.doc_string = None
