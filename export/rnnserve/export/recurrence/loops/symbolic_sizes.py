"""What is certain of sizes that are symbols during a capture, without a condition on them that would fix them."""

from typing import Final

import sympy  # type: ignore[import-untyped]  # a dependency of torch
import torch
from torch.utils._sympy.numbers import int_oo
from torch.utils._sympy.value_ranges import ValueRanges, bound_sympy

from rnnserve.export.recurrence.argument_types import Argument

__all__ = ["Size", "at_least_one", "difference", "is_symbol", "same_shape", "same_size"]

Size = int | torch.SymInt
"""A size that is known, or a symbol."""

_OF_AN_AXIS: Final = ValueRanges(1, int_oo)


def is_symbol(size: Argument) -> bool:
    """Whether a size is dynamic."""
    return isinstance(size, torch.SymInt) and not _expression(size).is_Integer


def difference(one: Size, other: Size) -> int | None:
    """Subtract; None where the result depends on a dynamic size."""
    result = sympy.expand(_expression(one) - _expression(other))
    return int(result) if result.is_Integer else None


def same_size(one: Size, other: Size) -> bool:
    """Whether two sizes are certainly the same."""
    return difference(one, other) == 0


def same_shape(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors certainly have the same shape."""
    return one.dim() == other.dim() and all(map(same_size, one.shape, other.shape))


def at_least_one(size: Size) -> bool:
    """Whether a size is certainly 1 or more, if every dynamic axis is."""
    expression = _expression(size)
    smallest = bound_sympy(expression, dict.fromkeys(expression.free_symbols, _OF_AN_AXIS)).lower
    return bool(smallest >= 1)


def _expression(size: Size) -> sympy.Expr:
    return sympy.Integer(size) if isinstance(size, int) else size.node.expr
