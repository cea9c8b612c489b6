"""What a loop carries from step to step in one place: tensors, which are a scan's state, and numbers that count."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree

from rnnserve.export.recurrence.argument_types import Argument
from rnnserve.export.recurrence.loops.memory import MISSING, Place
from rnnserve.export.recurrence.loops.records import is_record, opened, rebuilt
from rnnserve.export.recurrence.loops.step_index import StepCondition, StepIndex
from rnnserve.export.recurrence.loops.step_list import StepList
from rnnserve.export.recurrence.loops.step_number import OnTensors, StepNumber, StepsOwner, exactly, number_of
from rnnserve.export.recurrence.loops.symbolic_sizes import difference, same_shape

__all__ = ["Carried", "Unfit", "flattened"]


class Unfit(Exception):
    """What a place holds before a step is not what it holds after it; the message is a reason for a refusal."""


@dataclasses.dataclass(frozen=True)
class Carried:
    """What is carried in one place.

    Attributes:
        place: Where.
        spec: Structure of what it holds.
        initial: Leaves before the first step; where a step reads nothing of them, zeros like those after it.
        is_read: Whether a step reads it.
    """

    place: Place
    spec: _pytree.TreeSpec
    initial: tuple[Any, ...]
    is_read: bool

    @classmethod
    def of(cls, place: Place, before: Argument, after: Argument, loop: StepsOwner, *, is_read: bool) -> "Carried":
        """Compare what a place holds before and after a step.

        Raises:
            Unfit: If no state has both.
        """
        leaves, spec = flattened(after)
        if not is_read:
            zeros = tuple(torch.zeros_like(each) if isinstance(each, Tensor) else each for each in leaves)
            return cls(place, spec, zeros, is_read)
        old, old_spec = flattened(before)
        if before is MISSING or old_spec != spec:
            raise Unfit(f"`{place.label}` is {_named(before)} before the first step, and {_named(after)} after it")
        return cls(place, spec, tuple(_initial(place, *pair, loop) for pair in zip(old, leaves, strict=True)), is_read)

    @property
    def states(self) -> list[Tensor]:
        """The tensors before the first step."""
        tensors = [leaf.value if isinstance(leaf, StepNumber) else leaf for leaf in self.initial]
        return [each for each in tensors if isinstance(each, Tensor)]

    def installed(self, states: Sequence[Tensor]) -> Argument:
        """Give what the place holds with other tensors."""
        left = iter(states)
        leaves = [_of_state(leaf, left) for leaf in self.initial]
        return _with_step_lists(_pytree.tree_unflatten(leaves, self.spec))

    def after(self, value: Argument) -> list[Tensor]:
        """Give the tensors after a step.

        Raises:
            Unfit: If the step changes structure, shapes or dtypes, or a number in another way than by counting.
        """
        leaves, spec = flattened(value)
        if spec != self.spec:
            raise Unfit(f"a step changes the structure of `{self.place.label}`")
        tensors = []
        for old, new in zip(self.initial, leaves, strict=True):
            if isinstance(old, Tensor):
                tensors.append(_fitting(self.place, old, new))
            elif isinstance(old, StepNumber):
                number = number_of(old.loop, new)
                if number is None:
                    raise Unfit(f"`{self.place.label}` is a number before a step, and {_named(new)} after it")
                tensors.append(number.value.double())
            elif isinstance(old, StepIndex):
                expected = old + old.scale if self.is_read else old
                if not (isinstance(new, StepIndex) and new.scale == old.scale):
                    raise Unfit(f"`{self.place.label}` is a number that does not count by the same in each step")
                if difference(new.offset, expected.offset) != 0:
                    raise Unfit(f"`{self.place.label}` is a number that does not count by the same in each step")
            elif not _same(old, new):
                raise Unfit(f"`{self.place.label}` is {_named(old)} before a step, and {_named(new)} after it")
        return tensors

    def final(self, states: Sequence[Tensor], steps: Any) -> Argument:  # noqa: ANN401 - a size
        """Give what the place holds after the last step."""
        left, steps = iter(states), steps if self.is_read else steps - 1
        leaves = [leaf.at(steps) if isinstance(leaf, StepIndex) else _of_state(leaf, left) for leaf in self.initial]
        return _with_step_lists(_pytree.tree_unflatten(leaves, self.spec))


def flattened(value: Argument) -> tuple[list[Any], _pytree.TreeSpec]:
    """Flatten nested tuples, lists, dicts and records; our lists are lists of Python."""
    return _pytree.tree_flatten(_without_step_lists(value))


def _without_step_lists(value: Argument) -> Argument:
    if isinstance(value, StepList):
        return [_without_step_lists(item) for item in list.__iter__(value)]
    if type(value) in (list, tuple):
        return type(value)(_without_step_lists(item) for item in value)
    if type(value) is dict:
        return {key: _without_step_lists(item) for key, item in value.items()}
    return opened(value, _without_step_lists) if is_record(value) else value


def _with_step_lists(value: Argument) -> Argument:
    if type(value) is list:
        return StepList(_with_step_lists(item) for item in value)
    if type(value) is tuple:
        return tuple(_with_step_lists(item) for item in value)
    return rebuilt(value, _with_step_lists) if is_record(value) else value


def _of_state(leaf: Argument, states: Iterator[Tensor]) -> Argument:
    if isinstance(leaf, StepNumber):
        return StepNumber(leaf.loop, next(states))
    return next(states) if isinstance(leaf, Tensor) else leaf


def _initial(place: Place, before: Argument, after: Argument, loop: StepsOwner) -> Argument:
    if isinstance(after, StepCondition):
        after = after.tensor()
    if isinstance(before, Tensor):
        return before if _fitting(place, before, after) is not None else None
    if _same(before, after):
        return before
    if _is_number(before) and _is_number(after):
        return StepIndex(loop, after - before, before - (after - before) * loop.first)
    if _is_number(before) and isinstance(after, StepIndex) and after.loop is loop:
        earlier = after - after.scale
        if difference(earlier.at(loop.first), before) == 0:
            return earlier
    if _is_float(before) and (_is_float(after) or isinstance(after, StepNumber | StepIndex)):
        return StepNumber(loop, exactly(before))
    raise Unfit(f"`{place.label}` is {_named(before)} before a step, and {_named(after)} after it")


def _fitting(place: Place, old: Tensor, new: Argument) -> Tensor:
    if isinstance(new, OnTensors):
        new = new.of_type(old.dtype if old.is_floating_point() else None)
    if not isinstance(new, Tensor):
        raise Unfit(f"`{place.label}` is {_named(old)} before a step, and {_named(new)} after it")
    if not same_shape(old, new) or old.dtype != new.dtype:
        raise Unfit(
            f"`{place.label}` is {_named(old)}, {old.dtype}, before a step, and {_named(new)}, {new.dtype}, after it. "
            "The state of a scan keeps its size and its type. Append to a list what each step adds, and read steps "
            "before from a tensor of all steps with a mask; or keep a window: torch.cat([last, x], dim=1)[:, -4:]"
        )
    return new


def _same(one: Argument, other: Argument) -> bool:
    if one is other:
        return True
    return type(one) is type(other) and not isinstance(one, Tensor | OnTensors) and bool(one == other)


def _is_number(value: Argument) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_float(value: Argument) -> bool:
    return isinstance(value, float)


def _named(value: Argument) -> str:
    if isinstance(value, Tensor):
        return f"a tensor ({', '.join(map(str, value.shape))})"
    if value is None or value is MISSING or isinstance(value, bool | int | float | str):
        return repr(value)
    return f"a {type(value).__name__}"
