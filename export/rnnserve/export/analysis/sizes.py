"""Sizes of axes before the model runs: polynomials of the sizes that a request chooses."""

import dataclasses
import functools
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True, order=True)
class Symbol:
    """A number that becomes known when the model runs."""

    name: str  # symbols with the same name are equal: "batch", or the computation of the number
    tainted: frozenset[str] = dataclasses.field(compare=False)  # the dynamic axes whose sizes or values it depends on
    made_of: frozenset[str] = dataclasses.field(compare=False)  # the dynamic axes whose sizes it depends on
    lowest: int | None = dataclasses.field(compare=False)  # a lower bound of 0 or more, if known


Monomial = tuple[Symbol, ...]


@dataclasses.dataclass(frozen=True)
class Size:
    """A polynomial with integer coefficients."""

    terms: tuple[tuple[Monomial, int], ...]  # sorted, without terms of coefficient 0; the constant's monomial is empty

    @staticmethod
    def of(number: "int | Size") -> "Size":
        """Convert an integer to a size. A size is returned unchanged."""
        return number if isinstance(number, Size) else _size({(): int(number)})

    @property
    def number(self) -> int | None:
        """The size as an integer. None if it isn't constant."""
        if not self.terms:
            return 0
        return self.terms[0][1] if len(self.terms) == 1 and not self.terms[0][0] else None

    @functools.cached_property
    def tainted(self) -> frozenset[str]:
        """The dynamic axes on whose sizes or values this size depends."""
        return frozenset().union(*(symbol.tainted for monomial, _ in self.terms for symbol in monomial))

    @functools.cached_property
    def made_of(self) -> frozenset[str]:
        """The dynamic axes on whose sizes this size depends."""
        return frozenset().union(*(symbol.made_of for monomial, _ in self.terms for symbol in monomial))

    @property
    def lowest(self) -> int | None:
        """A lower bound. None if no bound is known."""
        bound = 0
        for monomial, factor in self.terms:
            if factor < 0 and monomial:
                return None
            product = factor
            for symbol in monomial:
                if symbol.lowest is None:
                    return None
                product *= symbol.lowest
            bound += product
        return bound

    def at_least(self, other: "int | Size") -> bool:
        """Whether this size is certainly at least `other`."""
        bound = (self - other).lowest
        return bound is not None and bound >= 0

    def __add__(self, other: "int | Size") -> "Size":
        terms = dict(self.terms)
        for monomial, factor in Size.of(other).terms:
            terms[monomial] = terms.get(monomial, 0) + factor
        return _size(terms)

    def __neg__(self) -> "Size":
        return _size({monomial: -factor for monomial, factor in self.terms})

    def __sub__(self, other: "int | Size") -> "Size":
        return self + -Size.of(other)

    def __mul__(self, other: "int | Size") -> "Size":
        terms: dict[Monomial, int] = {}
        for left, first in self.terms:
            for right, second in Size.of(other).terms:
                monomial = tuple(sorted((*left, *right)))
                terms[monomial] = terms.get(monomial, 0) + first * second
        return _size(terms)

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other: "int | Size") -> "Size":
        return Size.of(other) - self

    def __str__(self) -> str:
        parts = [
            "*".join([*([str(factor)] if factor != 1 or not monomial else []), *(symbol.name for symbol in monomial)])
            for monomial, factor in self.terms
        ]
        return " + ".join(parts) or "0"


def named(name: str) -> Size:
    """Return the size of a dynamic axis, which is at least 1."""
    return _size({(Symbol(name, frozenset([name]), frozenset([name]), 1),): 1})


def longest(axis: str, batch: str) -> Size:
    """Return the largest length along a sequence axis: a number of steps that depends on all rows."""
    symbol = Symbol(f"longest of {axis}", frozenset([axis, batch]), frozenset([axis]), 1)
    return _size({(symbol,): 1})


def quotient(size: Size, by: Size) -> Size | None:
    """Divide sizes. None if the result isn't a polynomial, or if there may be a remainder."""
    if by.number == 1:
        return size
    if len(by.terms) != 1:
        return Size.of(1) if size == by else None
    (divisor, factor) = by.terms[0]
    terms: dict[Monomial, int] = {}
    for monomial, coefficient in size.terms:
        rest = list(monomial)
        for symbol in divisor:
            if symbol not in rest:
                return None
            rest.remove(symbol)
        if coefficient % factor:
            return None
        terms[tuple(rest)] = coefficient // factor
    return _size(terms)


def computed(name: str, *operands: Size, lowest: int | None = None, tainted: frozenset[str] = frozenset()) -> Size:
    """Return the result of a computation that isn't a polynomial. Equal names and operands mean equal numbers."""
    tainted = tainted.union(*(operand.tainted for operand in operands))
    made_of: frozenset[str] = frozenset().union(*(operand.made_of for operand in operands))
    title = f"{name}({', '.join(map(str, operands))})"
    return _size({(Symbol(title, tainted, made_of, lowest),): 1})


def maximum(size: Size, floor: Size) -> Size:
    """Return the larger of two sizes."""
    if size.at_least(floor):
        return size
    if floor.at_least(size):
        return floor
    first, second = sorted((size, floor), key=str)
    bounds = [bound for bound in (size.lowest, floor.lowest) if bound is not None and bound >= 0]
    return computed("max", first, second, lowest=max(bounds, default=None))


def minimum(size: Size, other: Size) -> Size:
    """Return the smaller of two sizes."""
    larger = maximum(size, other)
    if larger in (size, other):
        return other if larger == size else size
    first, second = sorted((size, other), key=str)
    return computed("min", first, second, lowest=0 if size.at_least(0) and other.at_least(0) else None)


def _size(terms: Mapping[Monomial, int]) -> Size:
    return Size(tuple(sorted((monomial, factor) for monomial, factor in terms.items() if factor)))
