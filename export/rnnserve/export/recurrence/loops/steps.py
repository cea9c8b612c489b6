"""What a loop runs over, where the number of steps is a symbol: `range(n)`, `x.unbind(1)`, zip, enumerate, reversed.

Each gives its item for a number of a step: a plain number, or a `StepIndex` within a loop that is captured.
"""

import abc
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.utils import _pytree

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.argument_types import Argument, Arguments
from rnnserve.export.recurrence.loops.step_index import StepIndex
from rnnserve.export.recurrence.loops.step_number import StepsOwner
from rnnserve.export.recurrence.loops.symbolic_sizes import Size, difference, is_symbol, same_size

__all__ = ["RangeSteps", "Steps", "TensorSteps", "ZippedSteps", "part_of", "reversed_steps", "step_of"]

Position = int | torch.SymInt | StepIndex
"""A number of a step."""


class _Sequences(StepsOwner, Protocol):
    def step_of(self, tensor: Tensor, dim: int, index: StepIndex) -> Tensor:
        """Give one step of a tensor along an axis."""


def step_of(tensor: Tensor, dim: int, position: Position) -> Tensor:
    """Give one step of a tensor, without the axis `dim`."""
    if isinstance(position, StepIndex):
        return cast(_Sequences, position.loop).step_of(tensor, dim, position)
    return tensor.select(dim, position)


class Steps(abc.ABC):
    """Items of which the number is a symbol.

    Attributes:
        count: How many there are.
    """

    count: Size

    @abc.abstractmethod
    def item(self, position: Position) -> Argument:
        """Give the item of one step."""

    @abc.abstractmethod
    def stacked(self) -> Argument:
        """Give all items, along a new first axis, in the structure of an item."""

    def __getitem__(self, key: Argument) -> Argument:
        if isinstance(key, slice):
            return part_of(self, key)
        if isinstance(key, int) and key < 0:
            return self.item(self.count + key)
        return self.item(key)

    def __iter__(self) -> Any:  # noqa: ANN401 - never given
        raise UnsupportedModule(
            "the module's code takes the steps of a sequence apart where no loop over them was found. Loop over them "
            "with `for`, or use rnnserve.export.scan."
        )

    def __len__(self) -> int:
        return self.__iter__()  # type: ignore[no-any-return]  # which raises

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Argument, args: Arguments = (), kwargs: dict[str, Any] | None = None
    ) -> Argument:
        """Refuse: what takes steps is computed before it comes here."""
        del types, args, kwargs
        raise UnsupportedModule(
            f"{getattr(func, '__name__', func)} got the list of a loop's results, whose length is a dynamic size. "
            "Stack it before it is used: torch.stack(outputs, dim=1)."
        )


class RangeSteps(Steps):
    """`range(start, stop, step)`."""

    def __init__(self, start: Size, stop: Size, step: int) -> None:
        self.start, self.step = start, step
        distance = stop - start if step > 0 else start - stop
        self.count = distance if abs(step) == 1 else (distance + abs(step) - 1) // abs(step)

    def item(self, position: Position) -> Argument:
        """Give the number of one step."""
        return position * self.step + self.start

    def stacked(self) -> Argument:
        """Give the numbers, (steps,) int64."""
        numbers = torch.arange(self.count)  # type: ignore[arg-type]  # takes symbols, too
        return numbers * self.step + self.start


class TensorSteps(Steps):
    """Steps of tensors along one axis, in the structure of an item.

    Args:
        tensors: Tensors, as many as the structure has leaves, all with as many steps.
        dim: Axis of the steps, 0 or more.
        spec: Structure of an item; None for a tensor alone.
        kept: Whether an item keeps the axis, with a size of 1.
    """

    def __init__(
        self, tensors: Sequence[Tensor], dim: int, spec: _pytree.TreeSpec | None = None, *, kept: bool = False
    ) -> None:
        self.tensors, self.dim, self.spec, self.kept = list(tensors), dim, spec, kept
        self.count = tensors[0].shape[dim]

    def item(self, position: Position) -> Argument:
        """Give one step."""
        steps = [step_of(tensor, self.dim, position) for tensor in self.tensors]
        if self.kept:
            steps = [step.unsqueeze(self.dim) for step in steps]
        return steps[0] if self.spec is None else _pytree.tree_unflatten(steps, self.spec)

    def stacked(self) -> Argument:
        """Give all steps, along a new first axis."""
        whole = [tensor.movedim(self.dim, 0) for tensor in self.tensors]
        if self.kept:
            whole = [tensor.unsqueeze(self.dim + 1) for tensor in whole]
        return whole[0] if self.spec is None else _pytree.tree_unflatten(whole, self.spec)


class ZippedSteps(Steps):
    """`zip` of several."""

    def __init__(self, parts: Sequence[Steps]) -> None:
        self.parts = parts
        self.count = parts[0].count
        # Axes of one name are symbols of their own, until a comparison makes one of them.
        if not all(same_size(part.count, self.count) or bool(part.count == self.count) for part in parts):
            raise UnsupportedModule(
                f"zip got sequences of {', '.join(str(part.count) for part in parts)} steps; expected the same number"
            )

    def item(self, position: Position) -> Argument:
        """Give a tuple of items."""
        return tuple(part.item(position) for part in self.parts)

    def stacked(self) -> Argument:
        """Give a tuple of what the parts are."""
        return tuple(part.stacked() for part in self.parts)


class _PartOfSteps(Steps):
    def __init__(self, whole: Steps, start: Size, count: Size, scale: int) -> None:
        self.whole, self.start, self.count, self.scale = whole, start, count, scale

    def item(self, position: Position) -> Argument:
        return self.whole.item(position * self.scale + self.start)

    def stacked(self) -> Argument:
        return _pytree.tree_map(self._cut, self.whole.stacked())

    def _cut(self, tensor: Tensor) -> Tensor:
        if same_size(tensor.shape[0], self.count):
            return tensor.flip(0) if self.scale < 0 else tensor
        first = self.start if self.scale > 0 else self.start - self.count + 1
        part = tensor.narrow(0, first, self.count)
        return part.flip(0) if self.scale < 0 else part


def reversed_steps(steps: Steps) -> Steps:
    """Give the steps from the last to the first."""
    if isinstance(steps, ZippedSteps):
        return ZippedSteps([reversed_steps(part) for part in steps.parts])
    if isinstance(steps, _PartOfSteps) and steps.scale < 0 and same_size(steps.count, steps.whole.count):
        return steps.whole
    return _PartOfSteps(steps, steps.count - 1, steps.count, -1)


def part_of(steps: Steps, key: slice) -> Steps:
    """Give a slice of steps: `[1:]`, `[:-1]`, `[::-1]`, and others whose bounds are certain.

    Raises:
        UnsupportedModule: If they are not.
    """
    if key.step == -1 and key.start is None and key.stop is None:
        return reversed_steps(steps)
    start, stop = key.start or 0, steps.count if key.stop is None else key.stop
    start = steps.count + start if isinstance(start, int) and start < 0 else start
    stop = steps.count + stop if isinstance(stop, int) and stop < 0 else stop
    within = is_symbol(stop) and (difference(steps.count, stop) or 0) >= 0
    if key.step not in (None, 1) or not isinstance(start, int) or not within:
        raise UnsupportedModule(
            f"the slice [{key.start}:{key.stop}:{key.step}] of a list of steps cannot be exported: its length depends "
            "on whether there are so many steps. Stack the list, and slice the tensor."
        )
    return _PartOfSteps(steps, start, stop - start, 1)
