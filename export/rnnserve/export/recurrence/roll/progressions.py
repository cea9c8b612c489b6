"""Numbers that change from step to step, as functions of the step: `t`, `2 * t + 1`, `0.9**t`, `1 / (1 - 0.9**t)`.

A number is a sum (first + k * step), a product (first * step**k) or a decay (first * step**k + added) of the step k, or
a function of one, such as its inverse.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

__all__ = ["FUNCTIONS", "Progression", "progression"]


class Progression(NamedTuple):
    """A number as a function of the step.

    Attributes:
        function: Name of the function of what follows.
        base: "sum", "product" or "decay".
        values: The first value, the step, and what is added to a decay; as numbers, or where a scan has them.
    """

    function: str
    base: str
    values: tuple[Any, ...]

    @property
    def is_constant(self) -> bool:
        """Whether the number is the same in all steps."""
        return self.base == "sum" and isinstance(self.values[1], int) and self.values[1] == 0

    def at(self, step: Any) -> Any:  # noqa: ANN401 - of a number a number, of a tensor a tensor
        """Give the number of a step, or those of a tensor of steps."""
        first, change, *added = self.values
        if self.is_constant:
            return first
        if isinstance(step, torch.Tensor) and step.is_floating_point():  # numbers would be of float32 in ONNX
            first, change, *added = (torch.as_tensor(each, dtype=step.dtype) for each in self.values)
        if self.base == "sum":
            value = step if isinstance(change, int) and change == 1 else change * step
            value = value if isinstance(first, int) and first == 0 else first + value
        else:
            value = first * change**step
            value = value + added[0] if added else value
        _, outer = FUNCTIONS[self.function]
        return outer(value)


def progression(seen: Sequence[Any], digits: float) -> Progression | None:
    """Find the function of the step that gives some numbers; None if there is none.

    Args:
        seen: The numbers of all steps.
        digits: Their relative precision.
    """
    first, second = seen[:2]
    if all(each == first for each in seen):
        return Progression("identity", "sum", (first, 0))
    if isinstance(first, int):
        found = Progression("identity", "sum", (first, second - first))
        return found if all(each == found.at(k) for k, each in enumerate(seen)) else None
    if not all(map(math.isfinite, seen)):
        return None
    for name, (inverse, _) in FUNCTIONS.items():
        try:
            inner = [inverse(each) for each in seen]
        except (ArithmeticError, ValueError):
            continue
        for base in (_sum, _product, _decay):
            values = base(inner)
            if values is None:
                continue
            found = Progression(name, base.__name__[1:], values)
            if _is_near(found, seen, digits):
                return found
    return None


def _is_near(found: Progression, seen: Sequence[float], digits: float) -> bool:
    try:
        return all(abs(each - found.at(k)) <= digits * abs(each) + 1e-300 for k, each in enumerate(seen))
    except (ArithmeticError, ValueError, TypeError):
        return False


def _sum(seen: Sequence[float]) -> tuple[float, ...]:
    return seen[0], (seen[-1] - seen[0]) / (len(seen) - 1)


def _product(seen: Sequence[float]) -> tuple[float, ...] | None:
    ratio = seen[1] / seen[0] if seen[0] else 0
    return (seen[0], ratio) if ratio > 0 else None


def _decay(seen: Sequence[float]) -> tuple[float, ...] | None:
    if len(seen) < 5:  # it has three values of its own
        return None
    one, other = seen[1] - seen[0], seen[2] - seen[1]
    ratio = other / one if one else 0
    if not ratio > 0 or ratio == 1:
        return None
    first = one / (ratio - 1)
    return first, ratio, seen[0] - first


def _tensor_or_number(
    of_tensor: Callable[[torch.Tensor], torch.Tensor], of_number: Callable[[float], float]
) -> Callable[[Any], Any]:
    return lambda value: of_tensor(value) if isinstance(value, torch.Tensor) else of_number(value)


FUNCTIONS: dict[str, tuple[Callable[[float], float], Callable[[Any], Any]]] = {
    "identity": (lambda value: value, lambda value: value),
    "inverse": (lambda value: 1 / value, lambda value: 1 / value),
    "root": (lambda value: value * value, _tensor_or_number(torch.sqrt, math.sqrt)),
    "inverse root": (lambda value: value**-2, lambda value: value**-0.5),
    "exponential": (math.log, _tensor_or_number(torch.exp, math.exp)),
    "logarithm": (math.exp, _tensor_or_number(torch.log, math.log)),
}
"""By name the inverse of a function, and the function, of numbers and of tensors."""
