"""A range of values, and arithmetic on ranges."""

import dataclasses
import math
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

__all__ = ["ANY", "LARGEST", "Range", "of_constant", "product", "quotient", "total", "union"]

LARGEST = float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True)
class Range:
    """What a tensor's values can be.

    Attributes:
        low: No finite value is smaller.
        high: No finite value is larger.
        finite: Whether every value is finite.
    """

    low: float
    high: float
    finite: bool = True

    @property
    def size(self) -> float:
        """The largest magnitude."""
        return max(abs(self.low), abs(self.high))

    def map(self, function: Callable[[float], float]) -> "Range":
        """The range of a function that never falls, of these values."""
        return Range(function(self.low), function(self.high), self.finite)

    def within(self, largest: float) -> "Range":
        """The same where no value is beyond a dtype's largest number; else any value."""
        return self if self.size <= largest else dataclasses.replace(ANY, low=self.low if self.low >= 0 else -LARGEST)

    def symmetric(self, factor: float = 1.0) -> "Range":
        """Values of as large a magnitude, times a factor, of either sign."""
        return Range(-self.size * factor, self.size * factor, self.finite)


ANY = Range(-LARGEST, LARGEST, finite=False)
"""Any value, NaN and infinity among them."""


def of_constant(array: npt.NDArray[np.generic]) -> Range:
    """The range of a constant of numbers or booleans."""
    if array.dtype.kind not in "biuf" or not array.size:
        return Range(0.0, 0.0)
    values = array.astype(np.float64)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    return Range(low, high, finite.size == values.size)


def union(ranges: Iterable[Range]) -> Range:
    """Values of any of the ranges."""
    every = list(ranges)
    return Range(min(r.low for r in every), max(r.high for r in every), all(r.finite for r in every))


def total(first: Range, second: Range) -> Range:
    """The sums of two values."""
    return Range(first.low + second.low, first.high + second.high, first.finite and second.finite)


def product(first: Range, second: Range) -> Range:
    """The products of two values."""
    corners = [_times(x, y) for x in (first.low, first.high) for y in (second.low, second.high)]
    return Range(min(corners), max(corners), first.finite and second.finite)


def quotient(first: Range, second: Range) -> Range:
    """The quotients of two values: any value where the second may be zero."""
    if second.low <= 0 <= second.high:
        return ANY
    inverse = Range(1 / second.high, 1 / second.low, second.finite)
    return product(first, inverse)


def _times(x: float, y: float) -> float:
    return 0.0 if 0.0 in (x, y) else math.prod((x, y))
