"""Making one program of those of several lengths: the same operations, with numbers that are functions of the sizes."""

import dataclasses
import itertools
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from rnnserve.export.recurrence.refusals import NotRolled
from rnnserve.export.recurrence.roll.items import SCAN, Form, Item
from rnnserve.export.recurrence.roll.tracing import Shape
from rnnserve.export.source_lines import line_of_trace

__all__ = ["Element", "fitted", "refuse_unlike"]

_LARGEST_DIVISOR = 12
_NEAR = 1e-9

Sizes = Mapping[str, Any]
"""Sizes of the axes that a program was captured with, by name: numbers, or symbols while it is captured anew."""


@dataclasses.dataclass(frozen=True)
class Fit:
    """A number as a function of sizes: factor * ((size + plus) // divisor) + ... + offset, or the inverse of that."""

    terms: tuple[tuple[Any, tuple[str, ...], int, int], ...]  # of each: factor, axes of the sizes, plus, divisor
    offset: Any
    is_inverse: bool = False

    def __call__(self, sizes: Sizes) -> Any:  # noqa: ANN401 - a number, a symbol, or a tensor
        """Compute the number; a tensor of float64 if it is a float that depends on a size that is a symbol."""
        value = self.offset
        for factor, axes, plus, divisor in self.terms:
            size: Any = 1
            for axis in axes:
                size = size * sizes[axis]
            whole = size if divisor == 1 else (size + plus) // divisor
            if isinstance(whole, torch.SymInt) and not self.is_whole:
                whole = torch.full((), whole, dtype=torch.float64)  # type: ignore[call-overload] # takes symbols
            if isinstance(whole, torch.Tensor):  # numbers would be of float32 in ONNX
                factor, value = (torch.full((), each, dtype=torch.float64) for each in (factor, value))
            term = whole if isinstance(factor, int) and factor == 1 else factor * whole
            value = term if isinstance(value, int) and value == 0 else term + value
        return 1 / value if self.is_inverse else value

    @property
    def is_whole(self) -> bool:
        """Whether the number is an int."""
        return not self.is_inverse and all(
            isinstance(each, int) for each in (self.offset, *(factor for factor, *_ in self.terms))
        )

    @property
    def divides(self) -> bool:
        """Whether a size is divided in it."""
        return any(divisor > 1 for *_, divisor in self.terms)

    @classmethod
    def of(cls, values: Sequence[Any], points: Sequence[Sizes], digits: float = 1e-9) -> "Fit | None":
        """Find the function that gives these numbers at these sizes; None if no simple one does."""
        first = values[0]
        near = digits * abs(first) if isinstance(first, float) else 0
        if all(each == first or abs(each - first) <= near for each in values):
            return cls((), first)
        varying = [name for name in points[0] if len({point[name] for point in points}) > 1]
        if all(isinstance(each, int) for each in values):
            return cls._linear(values, points, varying, whole=True)
        found = cls._linear(values, points, varying, whole=False)
        if found is None and all(values):
            found = cls._linear([1 / each for each in values], points, varying, whole=False)
            found = found and dataclasses.replace(found, is_inverse=True)
        return found

    @classmethod
    def _linear(
        cls, values: Sequence[Any], points: Sequence[Sizes], varying: Sequence[str], *, whole: bool
    ) -> "Fit | None":
        products = [axes for count in range(1, len(varying) + 1) for axes in itertools.combinations(varying, count)]
        divisors = [(plus, by) for by in range(1, _LARGEST_DIVISOR + 1 if whole else 2) for plus in range(by)]
        for (plus, divisor), count in itertools.product(divisors, range(1, len(points) - 1)):
            for chosen in itertools.combinations(products, count):
                rows = [[(_product(point, axes) + plus) // divisor for axes in chosen] for point in points]
                system = np.array([[*row, 1] for row in rows], np.float64)
                if np.linalg.matrix_rank(system) <= count:
                    continue
                *factors, offset = map(_rounded, np.linalg.lstsq(system, np.array(values, np.float64))[0].tolist())
                if whole and not all(isinstance(each, int) for each in (*factors, offset)):
                    continue
                near = _NEAR * max(map(abs, values))
                found = [sum(map(operator.mul, row, factors)) + offset for row in rows]
                if all(abs(one - other) <= near for one, other in zip(found, values, strict=True)):
                    terms = zip(factors, chosen, itertools.repeat(plus), itertools.repeat(divisor))
                    return cls(tuple(each for each in terms if each[0] != 0), offset if whole else float(offset))
        return None


def _product(point: Sizes, axes: tuple[str, ...]) -> int:
    size = 1
    for axis in axes:
        size *= point[axis]
    return size


def _rounded(value: float) -> Any:  # noqa: ANN401 - an int where it is whole
    return round(value) if abs(value - round(value)) < _NEAR * max(1, abs(value)) else value


@dataclasses.dataclass(frozen=True)
class Element:
    """One operation of the program for all sizes."""

    target: Any  # as of an `Item`
    form: Form  # as of an `Item`
    references: tuple[int, ...]  # positions of other elements
    numbers: tuple[Fit, ...]  # functions of the sizes
    shape: Shape  # of the item of the first capture
    meta: Mapping[str, Any]  # where the operation is in the user's code

    @property
    def looped(self) -> set[str]:
        """The axes whose sizes are the numbers of steps of a scan, and of the scans in its steps."""
        if self.target != SCAN:
            return set()
        operations: Any = self.form.operations  # type: ignore[attr-defined] # a `Body`
        slots = [0, *(each.numbers[0].values[0] for each in operations if each.target == SCAN)]
        return {axis for slot in slots for _, axes, *_ in self.numbers[slot].terms for axis in axes}


def refuse_unlike(programs: Sequence[Sequence[Item]]) -> None:
    """Refuse programs whose operations are not the same, but for numbers."""
    positions = [{id(item): number for number, item in enumerate(items)} for items in programs]
    for items in itertools.zip_longest(*programs):
        if None in items or len({(each.target, _comparable(each)) for each in items}) > 1:
            raise NotRolled(
                f"what it computes for more steps is not that of fewer steps repeated{_place(items)}. Of x[:, :t] make "
                "torch.where(torch.arange(n) < t, …); a number such as math.cos(0.1 * t) read in the loop from a "
                "tensor that is computed before it, torch.cos(0.1 * torch.arange(n))[t]"
            )
        references = {
            tuple(where[id(each)] for each in item.references) for item, where in zip(items, positions, strict=True)
        }
        if len(references) > 1:
            raise NotRolled(f"it uses another value for more steps than for fewer steps{_place(items)}")


def fitted(programs: Sequence[Sequence[Item]], points: Sequence[Sizes]) -> list[Element]:
    """Make one list of elements of the items of all captures, whose operations are the same."""
    positions = {id(item): number for number, item in enumerate(programs[0])}
    elements = []
    for items in zip(*programs, strict=True):
        numbers = []
        for values in zip(*(each.numbers for each in items), strict=True):
            fit = Fit.of(values, points, items[0].digits)
            if fit is None:
                raise NotRolled(
                    f"a number depends on the size of an axis{_place(items)} in a way that is no simple formula "
                    f"({', '.join(map(str, values))} for sizes {', '.join(_shown(each) for each in points)})"
                )
            numbers.append(fit)
        first = items[0]
        references = tuple(positions[id(each)] for each in first.references)
        elements.append(Element(first.target, first.form, references, tuple(numbers), first.shape, first.meta))
    return elements


def _comparable(item: Item) -> Any:  # noqa: ANN401 - a form without shapes, which differ from length to length
    return item.form.without_shapes() if hasattr(item.form, "without_shapes") else item.form


def _shown(sizes: Sizes) -> str:
    return "/".join(map(str, sizes.values()))


def _place(items: Sequence[Item | None]) -> str:
    """The first line of the user's code among items."""
    return next((place for each in items if each is not None and (place := line_of_trace(each.meta))), "")
