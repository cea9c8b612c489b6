"""A list that loops over steps fill: its items, of which some may stand for a symbolic number of them.

It is a list of Python to all else, and an item that stands for steps is refused by every function of torch but those
that put a list together: `torch.stack`, `torch.cat` and their kin (`step_functions`).
"""

from collections.abc import Callable, Iterable
from typing import Any, SupportsIndex

import torch
from torch import Tensor
from torch.utils import _pytree

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.argument_types import Argument
from rnnserve.export.recurrence.loops.item_changes import ItemChanges
from rnnserve.export.recurrence.loops.step_index import StepIndex
from rnnserve.export.recurrence.loops.steps import Steps, TensorSteps, part_of, reversed_steps
from rnnserve.export.recurrence.loops.symbolic_sizes import Size, difference, same_size

__all__ = ["StepList", "joined", "plain", "size_of"]


class StepList(list[Any]):
    """A list of the user's code, in a function with a loop over steps.

    Attributes:
        read_last: While a loop is captured, how many items there were before its step, and what gives the last of them;
            None at all other times.
        inserted: Number of items that have been put before all others.
        room: Symbolic number of items that are to be set, of `[None] * n`; None for other lists.
        changes: What the step in progress has set and read of a list that holds all steps.
    """

    def __init__(self, items: Iterable[Any] = ()) -> None:
        super().__init__(items)
        self.read_last: tuple[int, Callable[[], Any]] | None = None
        self.inserted = 0
        self.room: Size | None = None
        self.changes = ItemChanges()

    @property
    def has_steps(self) -> bool:
        """Whether an item stands for a symbolic number of them."""
        return any(isinstance(item, Steps) for item in list.__iter__(self))

    def __getitem__(self, key: Argument) -> Argument:
        if (
            isinstance(key, int)
            and key == -1
            and self.read_last is not None
            and list.__len__(self) == self.read_last[0]
        ):
            return self.read_last[1]()
        if isinstance(key, slice):
            self.changes.read_whole()
            if key == slice(None) or not self.has_steps:
                return StepList(super().__getitem__(key))
            if key == slice(None, None, -1):
                return StepList(reversed_steps(item) if isinstance(item, Steps) else item for item in self._backwards())
            return StepList([part_of(self.steps(), key)])
        if self.has_steps:
            return self._of_steps(key)
        if isinstance(key, StepIndex):
            return self._at_step(key)
        return super().__getitem__(key)

    def __setitem__(self, key: Any, value: Any) -> None:  # noqa: ANN401
        if self.room is None and self.has_steps and isinstance(key, StepIndex):
            if self.read_last is None:
                key.loop.refuse("a step sets an item of a list that no variable of its function holds")
            self.changes.set(key, value)
        elif self.room is None and self.has_steps:
            self._set_between(key, value)
        elif self.room is None:
            super().__setitem__(key, value)
        elif isinstance(key, StepIndex) and self._is_next(key):
            self.append(value)
        elif isinstance(key, StepIndex) and self._is_before_all(key):
            self.insert(0, value)
        elif isinstance(key, StepIndex) and self._is_of_this_step(key):
            super().__setitem__(-1, value)
        elif isinstance(key, int) and key == list.__len__(self) and not self.has_steps:
            self.append(value)  # in a first step that runs apart
        else:
            reason = (
                "items of a list of as many items as there are steps are set in another way than one in each step, all "
                "of them. Begin with an empty list, and append to it."
            )
            if isinstance(key, StepIndex):
                key.loop.refuse(reason)
            raise UnsupportedModule(reason)

    def __mul__(self, times: SupportsIndex) -> Any:  # noqa: ANN401
        if isinstance(times, torch.SymInt):
            reserved = StepList()
            reserved.room = times
            return reserved
        return StepList(super().__mul__(times))

    __rmul__ = __mul__

    def __add__(self, other: Any) -> Any:  # noqa: ANN401
        return StepList([*list.__iter__(self), *list.__iter__(other)])

    def __bool__(self) -> bool:
        return list.__len__(self) > 0

    def __len__(self) -> int:
        if self.has_steps:
            raise UnsupportedModule("the length of a list that a loop over steps fills is made a plain number")
        return super().__len__()

    def __iter__(self) -> Any:  # noqa: ANN401
        return iter(self.steps() if self.has_steps else list.__iter__(self))

    def __reversed__(self) -> Any:  # noqa: ANN401
        return iter(self[::-1])

    def insert(self, position: SupportsIndex, item: Any) -> None:  # noqa: ANN401
        """Put an item before another one."""
        self.inserted += position == 0
        super().insert(position, item)

    def reverse(self) -> None:
        """Turn the list round."""
        self.changes.read_whole()
        super().__setitem__(slice(None), list(list.__iter__(self[::-1])))

    def copy(self) -> "StepList":
        """Give another list of the same items."""
        return StepList(list.__iter__(self))

    def steps(self) -> Steps:
        """Give the whole list as steps.

        Raises:
            UnsupportedModule: If the items have no common structure.
        """
        self.changes.read_whole()
        return self._steps()

    def put_steps(self, steps: Steps, start: Size) -> None:
        """Put steps in the place of as many items, from number `start` on.

        Raises:
            UnsupportedModule: If it is not certain how many items are before them and after them.
        """
        whole = self._steps()
        before, after = difference(start, 0), difference(whole.count, start + steps.count)
        if before is None or after is None or before < 0 or after < 0:
            raise UnsupportedModule(
                f"a loop sets {steps.count} items of a list of {whole.count}, from item {start} on: how many it leaves "
                "as they are depends on how many there are. Append what it computes to an empty list."
            )
        kept = [whole.item(at) for at in range(before)]
        left = [whole.item(whole.count - at) for at in range(after, 0, -1)]
        super().__setitem__(slice(None), [*kept, steps, *left])

    def _set_between(self, key: Argument, value: Argument) -> None:
        """Set one item by a plain number, counted from either end."""
        items = list(list.__iter__(self))
        steps = next((at for at, item in enumerate(items) if isinstance(item, Steps)), 0)
        whole = self.steps() if len(items) > 1 else items[steps]
        if not isinstance(key, int):
            raise UnsupportedModule(f"items {key} of a list of all steps are set at once; set one, or stack the list")
        known = [whole.item(at) for at in range(key)] if key >= 0 else []
        last = [whole.item(whole.count + at) for at in range(key + 1, 0)] if key < 0 else []
        rest = part_of(whole, slice(key + 1, None) if key >= 0 else slice(None, key))
        super().__setitem__(slice(None), [*known, value, rest] if key >= 0 else [rest, value, *last])

    def _steps(self) -> Steps:
        items = list(list.__iter__(self))
        return items[0] if len(items) == 1 and isinstance(items[0], Steps) else _steps_of(joined(items))

    def _is_next(self, key: StepIndex) -> bool:
        """Whether a step sets the item after those that are set, so that all steps set all of them."""
        first = difference(key.at(key.loop.first), list.__len__(self))
        return key.scale == 1 and first == 0 and self._is_room_for(key)

    def _is_before_all(self, key: StepIndex) -> bool:
        last = difference(key.at(key.loop.count - 1), 0)
        return key.scale == -1 and last == 0 and key.loop.first == 0 and self._is_room_for(key)

    def _is_room_for(self, key: StepIndex) -> bool:
        return self.room is not None and same_size(self.room, key.loop.count)

    def _at_step(self, key: StepIndex) -> Argument:
        """Give the item that this step has added, or the one that the step before it has."""
        if self.read_last is not None and self.read_last[0] and self._number(key) == -1:
            return self.read_last[1]()
        if self._is_of_this_step(key):
            return super().__getitem__(-1)
        raise UnsupportedModule(
            "a list is read at the number of a step, or from its end, while a loop over steps fills it. What a step "
            "needs of the step before it has to be a variable: h_before = h."
        )

    def _number(self, key: StepIndex) -> int | None:
        """Give how many items lie between those before the step and one; None where that is not certain."""
        if self.read_last is None or key.scale != 1:
            return None
        return difference(key.at(key.loop.first), self.read_last[0])

    def _is_of_this_step(self, key: StepIndex) -> bool:
        """Whether this step has added the item."""
        return self.read_last is not None and self._number(key) == 0 and list.__len__(self) == self.read_last[0] + 1

    def _backwards(self) -> list[Any]:
        return list(list.__reversed__(self))

    def _of_steps(self, key: Argument) -> Argument:
        items = list(list.__iter__(self))
        if isinstance(key, StepIndex):
            return self.changes.value_at(key, self._steps())
        self.changes.read_whole()
        if isinstance(key, int):
            real = items if key >= 0 else items[::-1]
            at = key if key >= 0 else -1 - key
            if at < len(real) and not any(isinstance(item, Steps) for item in real[: at + 1]):
                return real[at]
            if key == -1 or key == 0:
                steps = real[0]
                return steps.item(steps.count - 1 if key else 0)
        return self._steps()[key]


def plain(value: Argument) -> Argument:
    """Give what a function of the user returns with lists of Python in the place of ours."""
    if isinstance(value, StepList) and not value.has_steps:
        return [plain(item) for item in list.__iter__(value)]
    if type(value) is tuple:
        return tuple(plain(item) for item in value)
    if type(value) is dict:
        return {key: plain(item) for key, item in value.items()}
    return value


def size_of(items: Argument) -> Size:
    """Give the length of a list, of steps, or of anything that has one."""
    if isinstance(items, Steps):
        return items.count
    if isinstance(items, StepList):
        total: Size = 0
        for item in list.__iter__(items):
            total = total + (item.count if isinstance(item, Steps) else 1)
        return total
    return len(items)


def joined(items: Iterable[Any]) -> Argument:
    """Stack items, of which some stand for steps, along a new first axis; in the structure of an item.

    Raises:
        UnsupportedModule: If they differ in structure, or have no tensors.
    """
    parts, specs = [], []
    for item in items:
        leaves, spec = _pytree.tree_flatten(item.stacked() if isinstance(item, Steps) else item)
        if not leaves or not all(isinstance(leaf, Tensor) for leaf in leaves):
            raise UnsupportedModule("a list that a loop over steps fills holds what is no tensor, and is stacked")
        parts.append(leaves if isinstance(item, Steps) else [leaf.unsqueeze(0) for leaf in leaves])
        specs.append(spec)
    if any(spec != specs[0] for spec in specs):
        raise UnsupportedModule("a list that a loop over steps fills holds items of several structures")
    whole = [torch.cat(leaves) if len(leaves) > 1 else leaves[0] for leaves in zip(*parts, strict=True)]
    return _pytree.tree_unflatten(whole, specs[0])


def _steps_of(whole: Argument) -> TensorSteps:
    leaves, spec = _pytree.tree_flatten(whole)
    return TensorSteps(leaves, 0, None if isinstance(whole, Tensor) else spec)
