"""Which sizes within a program may be 0, though no axis of a request is: of what is chosen by values, and of parts."""

from collections.abc import Mapping
from typing import Any

import sympy  # type: ignore[import-untyped]  # a dependency of torch
import torch
from torch.utils._sympy.numbers import int_oo
from torch.utils._sympy.value_ranges import ValueRanges, bound_sympy

from rnnserve.export.operators import MayBeEmpty
from rnnserve.export.recurrence.dynamic_axes import DynamicAxes
from rnnserve.export.recurrence.layer_operators import TRIM
from rnnserve.export.recurrence.size_probing import Limits, symbols_of

__all__ = ["sizes_that_may_be_empty"]


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
    known = {name: _least(expression, least) for name, expression in expressions.items()}
    if all(size > 0 for size in known.values()):
        return None
    return lambda size: size == 0 if isinstance(size, int) else known.get(str(size.value), 0) <= 0


def _least(expression: sympy.Expr, least: Mapping[str, int]) -> int:
    """Give a bound below which a size is not, from those of its symbols."""
    ranges = {symbol: ValueRanges(least.get(str(symbol), 0), int_oo) for symbol in expression.free_symbols}
    lower = bound_sympy(expression, ranges).lower
    return 0 if lower in (-int_oo, -sympy.oo) else int(lower)  # is_finite holds for -int_oo
