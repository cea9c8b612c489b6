"""The number of a step while a loop is captured: what the user's code has as an int, known as `a * k + b`.

k is the number of the step in the order in which the loop runs, from 0. Conditions that the range of k decides, such as
`t > 0` after the first step, are decided; others have a value for each step, and cannot choose a path of Python code.
"""

import operator
from typing import Any

import torch
from torch import Tensor

from rnnserve.export.recurrence.argument_types import Argument
from rnnserve.export.recurrence.loops.step_number import OnTensors, StepsOwner, arithmetic, computed
from rnnserve.export.recurrence.loops.symbolic_sizes import Size, difference

__all__ = ["StepCondition", "StepIndex"]


_FAR = 2**62  # more steps than any sequence has


class StepIndex(OnTensors):
    """`scale * k + offset`, where k is the number of the step.

    Args:
        loop: Loop whose steps are counted.
        scale: Difference from step to step.
        offset: Value in step 0.
    """

    def __init__(self, loop: StepsOwner, scale: int, offset: Size) -> None:
        self.loop, self.scale, self.offset = loop, scale, offset

    def at(self, step: Size) -> Size:
        """Give the value in a step."""
        return step * self.scale + self.offset

    def tensor(self) -> Tensor:
        """Give the value as a tensor (), int64."""
        number: Tensor = self.loop.step_tensor() * self.scale + self.offset  # type: ignore[assignment]
        return number

    def is_never_negative(self) -> bool:
        """Whether it is 0 or more in each step, for certain."""
        return self.scale >= 0 and isinstance(self.offset, int) and self.offset >= 0

    def __add__(self, other: Argument) -> Argument:
        if isinstance(other, StepIndex) and other.loop is self.loop:
            return _index(self.loop, self.scale + other.scale, self.offset + other.offset)
        if _is_size(other):
            return StepIndex(self.loop, self.scale, self.offset + other)
        return computed("add", self.loop, self, other)

    __radd__ = __add__

    def __neg__(self) -> "StepIndex":
        return StepIndex(self.loop, -self.scale, -self.offset)

    def __sub__(self, other: Argument) -> Argument:
        return self + (-other)

    def __rsub__(self, other: Argument) -> Argument:
        return -self + other

    def __mul__(self, other: Argument) -> Argument:
        if isinstance(other, int):
            return _index(self.loop, self.scale * other, self.offset * other)
        return computed("mul", self.loop, self, other)

    __rmul__ = __mul__

    def __eq__(self, other: object) -> Any:  # noqa: ANN401 - a condition, or what comparing with a tensor gives
        return self._compared("eq", other)

    def __ne__(self, other: object) -> Any:  # noqa: ANN401
        return self._compared("ne", other)

    def __lt__(self, other: Argument) -> Argument:
        return self._compared("lt", other)

    def __le__(self, other: Argument) -> Argument:
        return self._compared("le", other)

    def __gt__(self, other: Argument) -> Argument:
        return self._compared("gt", other)

    def __ge__(self, other: Argument) -> Argument:
        return self._compared("ge", other)

    def __bool__(self) -> bool:
        return bool(self != 0)

    __hash__ = OnTensors.__hash__

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - what torch calls by name
        raise AttributeError(f"the number of a step has no attribute {name}")

    def _compared(self, name: str, other: Argument) -> Argument:
        if _is_size(other):
            return StepCondition(self, name, other)
        if isinstance(other, StepIndex) and other.loop is self.loop:
            return getattr(operator, name)(self - other, 0)
        other = other.tensor() if isinstance(other, StepIndex) else other
        return getattr(operator, name)(self.tensor(), other)


arithmetic(StepIndex, ("mod", "floordiv", "truediv", "pow"))  # which change more than scale and offset


class StepCondition(OnTensors):
    """A comparison of the number of a step with a size: a bool where all steps agree, else a tensor.

    Args:
        index: Number of the step.
        name: Function of `operator`, such as "lt".
        other: Size that it is compared with.
    """

    def __init__(self, index: StepIndex, name: str, other: Size) -> None:
        self.index, self.name, self.other = index, name, other
        self.loop = index.loop

    def tensor(self) -> Tensor:
        """Give the condition as a tensor (), bool."""
        compared: Tensor = getattr(operator, self.name)(self.index.tensor(), self.other)
        return compared

    def __bool__(self) -> bool:
        index, loop = self.index, self.index.loop
        compare = getattr(operator, self.name)
        first, second, last = (
            difference(index.at(step), self.other) for step in (loop.first, loop.first + 1, loop.count - 1)
        )
        if first is not None and second is not None and self._is_same_from(second, index.scale):
            if compare(first, 0) != compare(second, 0):
                loop.run_first_step_apart()
            return bool(compare(first, 0))
        if last is None or not self._is_same_from(last, -index.scale):
            loop.refuse(
                "a condition on the number of the step chooses a path of the Python code, and is not the same for all "
                "steps after the first. Compute both, and choose with torch.where(t == ..., one, other)."
            )
        return bool(compare(last, 0))

    def _is_same_from(self, value: int, direction: int) -> bool:
        """Whether a comparison with 0 has one result for a number and for all numbers beyond it in a direction."""
        compare = getattr(operator, self.name)
        far = value + (_FAR if direction > 0 else -_FAR)
        passes_zero = self.name in ("eq", "ne") and value * far <= 0
        return bool(compare(value, 0) == compare(far, 0)) and not passes_zero


def _index(loop: StepsOwner, scale: int, offset: Size) -> Argument:
    return StepIndex(loop, scale, offset) if scale else offset


def _is_size(value: Argument) -> bool:
    return isinstance(value, int | torch.SymInt) and not isinstance(value, bool)
