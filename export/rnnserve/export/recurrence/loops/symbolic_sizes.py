"""What is certain of sizes that are symbols during a capture, without a condition on them that would fix them."""

import sympy  # type: ignore[import-untyped]  # a dependency of torch
import torch
from torch.utils._sympy.functions import FloorDiv

from rnnserve.export.recurrence.argument_types import Argument

__all__ = ["Size", "at_least_one", "difference", "is_symbol", "same_shape", "same_size"]

Size = int | torch.SymInt
"""A size that is known, or a symbol."""


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
    return _is_positive(_expression(size))


def _is_positive(expression: sympy.Expr) -> bool:
    if isinstance(expression, FloorDiv):
        size, divisor = expression.args
        return bool(divisor.is_Integer and divisor > 0) and _is_positive(size - divisor + 1)
    smallest = expression.subs(dict.fromkeys(expression.free_symbols, 1))
    if not expression.is_polynomial(*expression.free_symbols):
        return False
    grows = all(expression.coeff(symbol) > 0 for symbol in expression.free_symbols)
    is_sum = sympy.Poly(expression, *expression.free_symbols).is_linear if expression.free_symbols else True
    return bool(is_sum and grows and smallest.is_Integer and smallest >= 1)


def _expression(size: Size) -> sympy.Expr:
    return sympy.Integer(size) if isinstance(size, int) else size.node.expr
