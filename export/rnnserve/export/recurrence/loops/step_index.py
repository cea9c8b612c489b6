"""The number of a step while a loop is captured: what the user's code has as an int, known as `a * k + b`.

k is the number of the step in the order in which the loop runs, from 0. Conditions that the range of k decides, such as
`t > 0` after the first step, are decided; others have a value for each step, and cannot choose a path of Python code.
"""

import operator
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

import torch
from torch import Tensor

from rnnserve.export.recurrence.argument_types import Argument, Arguments
from rnnserve.export.recurrence.loops.symbolic_sizes import Size, difference

__all__ = ["StepCondition", "StepIndex", "StepsOwner", "as_tensors"]


_FAR = 2**62  # more steps than any sequence has


class StepsOwner(Protocol):
    """The loop that a number of a step belongs to."""

    count: Size
    first: int

    @property
    def lowest(self) -> int:
        """Number of the first step of the scan."""

    @property
    def skips(self) -> bool:
        """Whether that one is left out of the results."""

    def step_tensor(self) -> Tensor:
        """Give k as a tensor (), int64."""

    def run_first_step_apart(self) -> None:
        """Say that the first step takes another path than those after it."""

    def refuse(self, reason: str) -> NoReturn:
        """Refuse the loop."""


class _OnTensors:
    """Lets functions of torch take such a value as a tensor."""

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Argument, args: Arguments = (), kwargs: dict[str, Any] | None = None
    ) -> Argument:
        """Run `func` on tensors."""
        del types
        args, kwargs = as_tensors((args, kwargs or {}))
        return func(*args, **kwargs)


class StepIndex(_OnTensors):
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

    def __add__(self, other: Argument) -> Argument:
        if isinstance(other, StepIndex) and other.loop is self.loop:
            return _index(self.loop, self.scale + other.scale, self.offset + other.offset)
        return StepIndex(self.loop, self.scale, self.offset + other) if _is_size(other) else self.tensor() + other

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
        return self.tensor() * other

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

    def __index__(self) -> int:
        self.loop.refuse(
            "a plain number is made of the number of the step, as for the size of a slice or the position in a list. "
            "Exported, all steps are one: index a tensor by it, or make what it chooses a tensor with an axis for the "
            "steps."
        )

    __int__ = __float__ = __index__  # which raise, too

    def __hash__(self) -> int:
        return self.__index__()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - what torch calls by name
        raise AttributeError(f"the number of a step has no attribute {name}")

    def _compared(self, name: str, other: Argument) -> Argument:
        if _is_size(other):
            return StepCondition(self, name, other)
        if isinstance(other, StepIndex) and other.loop is self.loop:
            return getattr(operator, name)(self - other, 0)
        other = other.tensor() if isinstance(other, StepIndex) else other
        return getattr(operator, name)(self.tensor(), other)


def _arithmetic(name: str) -> None:
    """Let an operator that changes more than scale and offset give a tensor."""
    function = getattr(operator, name)

    def of(self: StepIndex, other: Argument) -> Argument:
        return function(self.tensor(), as_tensors(other))

    def reflected(self: StepIndex, other: Argument) -> Argument:
        return function(as_tensors(other), self.tensor())

    setattr(StepIndex, f"__{name}__", of)
    setattr(StepIndex, f"__r{name}__", reflected)


for _name in ("mod", "floordiv", "truediv", "pow"):
    _arithmetic(_name)


class StepCondition(_OnTensors):
    """A comparison of the number of a step with a size: a bool where all steps agree, else a tensor.

    Args:
        index: Number of the step.
        name: Function of `operator`, such as "lt".
        other: Size that it is compared with.
    """

    def __init__(self, index: StepIndex, name: str, other: Size) -> None:
        self.index, self.name, self.other = index, name, other

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


def as_tensors(values: Argument) -> Argument:
    """Replace numbers of steps and conditions on them by tensors, in nested tuples, lists and dicts."""
    leaves, spec = torch.utils._pytree.tree_flatten(values)  # noqa: SLF001
    tensors = [leaf.tensor() if isinstance(leaf, StepIndex | StepCondition) else leaf for leaf in leaves]
    return torch.utils._pytree.tree_unflatten(tensors, spec)  # noqa: SLF001


def _index(loop: StepsOwner, scale: int, offset: Size) -> Argument:
    return StepIndex(loop, scale, offset) if scale else offset


def _is_size(value: Argument) -> bool:
    return isinstance(value, int | torch.SymInt) and not isinstance(value, bool)
