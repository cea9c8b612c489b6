"""Names in the exported graph: inputs, outputs, dynamic axes, nodes and weights.

Inputs and outputs get their names after all outputs have become separate values. Otherwise names would be lost if an
output is also an input, or if two outputs are the same value. Weights, and nodes that carry data from step to step, are
named after their module.
"""

import ast
import contextlib
import re
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir
import sympy  # type: ignore[import-untyped]  # a dependency of torch
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from torch import nn

from rnnserve.export.errors import WrongArguments
from rnnserve.export.operators.graphs import values_of
from rnnserve.export.recurrence.dynamic_axes import DynamicAxes, Limits, expression_of, outputs_of, sizes_by, symbols_of
from rnnserve.export.recurrence.layer_operators import TRIM
from rnnserve.export.surroundings import path_of_the_users

__all__ = ["mark_translations", "name_after_modules", "name_axes", "name_interface", "remove_metadata"]


def name_interface(model: ir.Model, input_names: Sequence[str], output_names: Sequence[str]) -> None:
    """Name the inputs and outputs, in place, and rename other values with these names."""
    taken = {*input_names, *output_names}
    for value in values_of(model):
        if value.name in taken:
            value.name = f"{value.name}/inner"
    for values, names in ((model.graph.inputs, input_names), (model.graph.outputs, output_names)):
        for value, name in zip(values, names, strict=True):
            value.name = name


_SYMBOL = re.compile(r"\b[A-Za-z_]\w*")


def _renamed(size: int | ir.SymbolicDim, names: Mapping[str, str]) -> int | ir.SymbolicDim:
    """Replace symbols in a size with names. The rest of an expression (`s1 - 2`) stays."""
    if isinstance(size, int) or size.value is None:
        return size
    return ir.SymbolicDim(_SYMBOL.sub(lambda symbol: names.get(symbol[0], symbol[0]), size.value))


def name_axes(model: ir.Model, captured: torch.export.ExportedProgram, axes: DynamicAxes, sizes: Limits) -> None:
    """Set the requested name of every dynamic axis, in place, in every tensor with that axis.

    `pad_packed_sequence` trims its result to the longest row. That axis is called `longest` (`longest_1`, … for further
    ones), unless it is known to have the same size as a requested axis.
    """
    names: dict[str, str] = {}
    for value, asked, label in zip(model.graph.inputs, axes.names, axes.labels, strict=True):
        for axis, name in asked.items():
            size = value.shape[axis] if value.shape is not None else None
            symbol = str(getattr(size, "value", size))
            if names.setdefault(symbol, name) != name:
                raise WrongArguments(
                    f'the module forces the axes "{names[symbol]}" and "{name}" (axis {axis} of `{label}`) to one '
                    "size. Give them the same name"
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
    """Return the axis, or the number, that a size expression always equals, else None.

    An expression equals an axis if, for example, a model pads to a length and then cuts to the input's length. It
    equals a number if, for example, a loop has min(n, 5) steps and n is at least five.
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


_CARRYING = {"RNN", "GRU", "LSTM", "Scan", "Conv", "CumSum", "Pad", "Concat"}
_SCOPES = "pkg.torch.onnx.name_scopes"
"""The exporter stores here the paths of the modules around a node, outermost first, and then the node's own name."""


def name_after_modules(model: ir.Model, module: nn.Module) -> None:
    """Prefix nodes that carry data between steps with the path of their module, in place: "encoder.0/node_gru__1".

    Weights have the same names as in the user's module.
    """
    wrapped = f"{path_of_the_users(module)}.".lstrip(".")
    for node in model.graph:
        path = _module(node.metadata_props.get(_SCOPES, ""))
        path = f"{path}.".removeprefix(wrapped).rstrip(".")
        if node.op_type in _CARRYING and path and node.name and not node.name.startswith(f"{path}/"):
            node.name = f"{path}/{node.name}"
    if not wrapped:
        return
    weights, taken = model.graph.initializers, {value.name for value in values_of(model)}
    for value in list(weights.values()):  # in the file's order
        name = str(value.name)
        short = name.removeprefix(wrapped)
        if short != name and short not in taken:
            value.name = short
        else:
            weights[name] = weights.pop(name)


def _module(scopes: str) -> str:
    """Return the path of the innermost module. It is empty for the exported module, or if unknown."""
    with contextlib.suppress(ValueError, SyntaxError):
        *paths, _ = ast.literal_eval(scopes)
        return paths[-1] if paths and isinstance(paths[-1], str) else ""
    return ""


def mark_translations(model: ir.Model) -> None:
    """Record in the model that it was exported without torch's optimizer, with our translations."""
    model.metadata_props["rnnserve.translations"] = "1"


def remove_metadata(model: ir.Model) -> None:
    """Remove every trace of the exporting machine, in place."""
    ClearMetadataAndDocStringPass()(model)
    # The pass clears graphs and nodes, but the exporter also writes to the model, to values and to their tensors.
    model.metadata_props.clear()
    model.doc_string = None
    for value in values_of(model):
        value.metadata_props.clear()
        value.doc_string = None
        if value.const_value is not None:
            value.const_value.metadata_props.clear()
            value.const_value.doc_string = None
