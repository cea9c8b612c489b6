"""What a captured program says of the sizes of its results: expressions of the sizes that a request chooses."""

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import sympy  # type: ignore[import-untyped]  # a dependency of torch
import torch

__all__ = ["expression_of", "sizes_by"]

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
