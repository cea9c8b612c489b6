"""What one step of a loop does to a list that holds all steps: `outputs[t] = y`, and what it reads of it.

A step may set the item at its number, and read it before and after that, and items of steps to come. What it reads of
steps that have been is what they have set, which this does not know: such a step is refused.
"""

from typing import Any

from rnnserve.export.recurrence.argument_types import Argument
from rnnserve.export.recurrence.loops.step_index import StepIndex
from rnnserve.export.recurrence.loops.steps import Steps
from rnnserve.export.recurrence.loops.symbolic_sizes import difference

__all__ = ["ItemChanges"]

_WHOLE = (
    "a step sets an item of a list that holds all steps, and reads the list as a whole, too. Keep what it reads in a "
    "list of its own, or in a tensor, that is made before the loop."
)


class ItemChanges:
    """The changes of one list in one run of a loop's body.

    Args:
        outer: Changes in the step of the loop around that one; None where there is none.

    Attributes:
        index: Number of the item that has been set; None where none is.
        value: What it has been set to.
    """

    def __init__(self, outer: "ItemChanges | None" = None) -> None:
        self._outer = outer
        self.index: StepIndex | None = None
        self.value: Any = None
        self._read: list[StepIndex] = []
        self._is_read_whole = False

    def set(self, index: StepIndex, value: Argument) -> None:
        """Note that an item is set."""
        if self._is_read_whole:
            index.loop.refuse(_WHOLE)
        if abs(index.scale) != 1:
            index.loop.refuse("steps set every other item of a list of all steps. Append to an empty list.")
        if self.index is not None and _ahead(index, self.index) != 0:
            index.loop.refuse("a step sets two items of one list that holds all steps. Use a list for each.")
        for read in self._read:
            self._check(read, index)
        if self._outer is not None:
            self._outer.read_whole()
        self.index, self.value = index, value

    def value_at(self, index: StepIndex, before: Steps) -> Argument:
        """Give an item; `before` is what the list held when the loop began."""
        self._read.append(index)
        if self._outer is not None:
            self._outer.value_at(index, before)
        if self.index is None:
            return before.item(index)
        return self.value if self._check(index, self.index) == 0 else before.item(index)

    def read_whole(self) -> None:
        """Note that more is read than the items of the step."""
        self._is_read_whole = True
        if self._outer is not None:
            self._outer.read_whole()
        if self.index is not None:
            self.index.loop.refuse(_WHOLE)

    def _check(self, read: StepIndex, written: StepIndex) -> int:
        """Give how many steps ahead of what a step sets it reads."""
        ahead = _ahead(read, written)
        if ahead is None or ahead < 0:
            written.loop.refuse(
                "a step sets an item of a list that holds all steps, and reads one that a step before it has set. Keep "
                "that in a variable: h_before = h."
            )
        return ahead


def _ahead(one: StepIndex, other: StepIndex) -> int | None:
    """How many steps of the loop lie between two numbers; None where that is not certain."""
    if one.loop is not other.loop or one.scale != other.scale:
        return None
    apart = difference(one.offset, other.offset)
    return None if apart is None else apart * other.scale
