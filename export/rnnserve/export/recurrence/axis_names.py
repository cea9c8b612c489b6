"""The names that dynamic axes have in the exported graph."""

import re
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import sympy  # type: ignore[import-untyped]  # a dependency of torch
import torch

from rnnserve.export.errors import WrongArguments
from rnnserve.export.recurrence.dynamic_axes import DynamicAxes
from rnnserve.export.recurrence.graph_values import values_of
from rnnserve.export.recurrence.layer_operators import TRIM
from rnnserve.export.recurrence.size_expressions import expression_of, sizes_by
from rnnserve.export.recurrence.size_probing import ANY_SIZES, Limits, outputs_of, symbols_of

__all__ = ["name_axes"]

_SYMBOL = re.compile(r"\b[A-Za-z_]\w*")


def name_axes(
    model: ir.Model, captured: torch.export.ExportedProgram, axes: DynamicAxes, sizes: Limits = ANY_SIZES
) -> None:
    """Give every dynamic axis the name asked for, in place, in every tensor that has the axis.

    `pad_packed_sequence` trims its result to the longest row. That axis is called `longest` (`longest_1`, … where there
    are several), unless an axis that was asked for is known to have the same size.

    Args:
        model: The graph, whose sizes have the symbols of the program.
        captured: The program that it was translated from.
        axes: The names that were asked for.
        sizes: Sizes that the module takes, by axis.

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
    for value, computed in zip(model.graph.outputs, outputs_of(captured), strict=True):
        if value.shape is not None:
            of_axes = [_axis_of(size, symbols_of(captured, axes), sizes) for size in computed.shape]
            value.shape = ir.Shape([name or size for name, size in zip(of_axes, value.shape, strict=True)])


def _axis_of(size: int | torch.SymInt, symbols: Mapping[sympy.Symbol, str], sizes: Limits) -> str | int | None:
    """Give the axis whose size another way to write it always gives: a model pads to a length, and cuts to the input's.

    Or the number that it always gives: a loop of min(n, 5) steps, where there are five or more.
    """
    expression = expression_of(size)
    free = expression.free_symbols
    if len(free) != 1 or expression in free or not free <= set(symbols):
        return None
    (symbol,) = free
    low, high = sizes.get(symbols[symbol], (1, None))
    table = sizes_by(expression, symbol, low, high)
    if table is None:
        return None
    tried, found = table
    if np.array_equal(tried, found):
        return symbols[symbol]
    return int(found[0]) if low != high and (found == found[0]).all() else None


def _renamed(size: int | ir.SymbolicDim, names: dict[str, str]) -> int | ir.SymbolicDim:
    """Put names in place of a size's symbols; the rest of an expression (`s1 - 2`) stays."""
    if isinstance(size, int) or size.value is None:
        return size
    return ir.SymbolicDim(_SYMBOL.sub(lambda symbol: names.get(symbol[0], symbol[0]), size.value))
