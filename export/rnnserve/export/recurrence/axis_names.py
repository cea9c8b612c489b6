"""The names that dynamic axes have in the exported graph."""

import re

import onnx_ir as ir
import torch

from rnnserve.export.errors import WrongArguments
from rnnserve.export.recurrence.dynamic_axes import DynamicAxes
from rnnserve.export.recurrence.graph_values import values_of
from rnnserve.export.recurrence.trim_operator import TRIM

__all__ = ["name_axes"]

_SYMBOL = re.compile(r"\b[A-Za-z_]\w*")


def name_axes(model: ir.Model, captured: torch.export.ExportedProgram, axes: DynamicAxes) -> None:
    """Give every dynamic axis the name asked for, in place, in every tensor that has the axis.

    `pad_packed_sequence` trims its result to the longest row. That axis is called `longest` (`longest_1`, … where there
    are several), unless an axis that was asked for is known to have the same size.

    Args:
        model: The graph, whose sizes have the symbols of the program.
        captured: The program that it was translated from.
        axes: The names that were asked for.

    Raises:
        WrongArguments: If the module makes axes of different names one size.
    """
    names: dict[str, str] = {}
    for value, asked, label in zip(model.graph.inputs, axes.names, axes.labels, strict=True):
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
    for value in values_of(model):
        if value.shape is not None:
            value.shape = ir.Shape([_renamed(size, names) for size in value.shape])


def _renamed(size: int | ir.SymbolicDim, names: dict[str, str]) -> int | ir.SymbolicDim:
    """Put names in place of a size's symbols; the rest of an expression (`s1 - 2`) stays."""
    if isinstance(size, int) or size.value is None:
        return size
    return ir.SymbolicDim(_SYMBOL.sub(lambda symbol: names.get(symbol[0], symbol[0]), size.value))
