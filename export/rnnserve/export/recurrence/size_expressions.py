"""What a captured program says of sizes: those of its results by those that a request chooses, and which may be 0."""

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import sympy  # type: ignore[import-untyped]  # a dependency of torch
import torch

from rnnserve.export.operators import MayBeEmpty
from rnnserve.export.recurrence.dynamic_axes import DynamicAxes
from rnnserve.export.recurrence.layer_operators import TRIM
from rnnserve.export.recurrence.size_probing import Limits, symbols_of
from rnnserve.export.torch_adapter import least_of

__all__ = ["expression_of", "sizes_by", "sizes_that_may_be_empty"]

_DENSE, _FARTHEST = 1 << 13, 1 << 20

_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "min": lambda *each: functools.reduce(np.minimum, each),
    "max": lambda *each: functools.reduce(np.maximum, each),
    "FloorDiv": operator.floordiv,
    "CleanDiv": operator.floordiv,
    "CeilDiv": lambda size, by: -(-size // by),
    "PythonMod": operator.mod,
    "Mod": operator.mod,
    "ModularIndexing": lambda size, by, modulus: size // by % modulus,
    "ToFloat": lambda size: size * 1.0,
    "IntTrueDiv": operator.truediv,
    "FloatTrueDiv": operator.truediv,
    "TruncToInt": lambda number: np.trunc(number).astype(np.int64),
    "FloorToInt": lambda number: np.floor(number).astype(np.int64),
    "CeilToInt": lambda number: np.ceil(number).astype(np.int64),
    "Where": np.where,
}
"""torch's functions of sizes, of arrays of them."""


def expression_of(size: int | torch.SymInt) -> sympy.Expr:
    """Give the expression of a size of a captured program."""
    return size.node.expr if isinstance(size, torch.SymInt) else sympy.Integer(size)


def sizes_by(
    expression: sympy.Expr, symbol: sympy.Symbol, low: int, high: int | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
    """Compute an expression at many values of its symbol: all up to some thousands, then further and further apart.

    Args:
        expression: An expression of one symbol.
        symbol: The symbol.
        low: The smallest size that it takes.
        high: The largest; None for no largest.

    Returns:
        The values of the symbol, ascending, and those of the expression; None where it has an unknown function.
    """
    far = np.unique(np.geomspace(_DENSE, _FARTHEST, _DENSE).astype(np.int64))
    sizes = low + np.concatenate([np.arange(_DENSE), far])
    sizes = sizes if high is None else sizes[sizes <= high]
    try:
        found = np.asarray(sympy.lambdify(symbol, expression, modules=[_FUNCTIONS])(sizes))
    except (NameError, TypeError, ValueError, ArithmeticError):
        return None
    return (sizes, np.broadcast_to(found, sizes.shape)) if found.dtype.kind == "i" else None


def sizes_that_may_be_empty(
    captured: torch.export.ExportedProgram, decomposed: torch.export.ExportedProgram, axes: DynamicAxes, limits: Limits
) -> MayBeEmpty | None:
    """Look at every size of a program.

    That an axis has values is for torch a condition, as `x.amax(1)` makes one, which no graph checks. So only this is
    taken for granted: an axis of a request is as long as the module takes, and rows are trimmed to one step or more,
    so that packed ones have values.

    Args:
        captured: The program.
        decomposed: The program as torch.onnx has translated it, whose sizes' names the graph has.
        axes: The dynamic axes.
        limits: The sizes that the module takes.

    Returns:
        Whether a size in the graph may be 0; None where none may.
    """
    least = {str(symbol): limits.get(name, (1, None))[0] for symbol, name in symbols_of(captured, axes).items()}
    expressions: dict[str, sympy.Expr] = {}
    for node in decomposed.graph.nodes:
        value = node.meta.get("val")
        for tensor in value if isinstance(value, tuple | list) else (value,):
            if isinstance(tensor, torch.Tensor):
                sizes: list[Any] = [size for size in tensor.shape if hasattr(size, "node")]  # SymInt
                expressions |= {str(size.node): size.node.expr for size in sizes}
                if node.target is TRIM:
                    least.setdefault(str(sizes[0].node), 1)
    known = {name: least_of(expression, least) for name, expression in expressions.items()}
    if all(size > 0 for size in known.values()):
        return None
    return lambda size: size == 0 if isinstance(size, int) else known.get(str(size.value), 0) <= 0
