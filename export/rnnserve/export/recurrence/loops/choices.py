"""Branches on values while they are captured: both sides run, and each name that they set is chosen of the two.

What `value_branches` has rewritten calls this. Where a condition is no tensor, one side runs, as in Python.
"""

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.argument_types import Argument
from rnnserve.export.recurrence.loops.symbolic_sizes import same_shape

__all__ = ["Choice", "all_of", "any_of", "either", "opposite"]


class Choice:
    """One branch while it runs.

    Args:
        condition: Value that the user's code branches on.
        place: File and line of it.

    Attributes:
        both: Whether it is a tensor, so that both sides run.
    """

    def __init__(self, condition: Argument, place: str) -> None:
        self.both = isinstance(condition, Tensor)
        self._condition, self._place = condition, place
        self._before: dict[str, Any] = {}
        self._then: dict[str, Any] = {}
        self._after: dict[str, Any] = {}

    def __bool__(self) -> bool:
        return bool(self._condition)

    def begin(self, variables: Mapping[str, Any]) -> None:
        """Note the function's local variables before the first side."""
        self._before = self._after = dict(variables)

    def other(self, variables: Mapping[str, Any]) -> None:
        """Note them after the first side; the second one begins with those before it."""
        self._then = dict(variables)

    def end(self, variables: Mapping[str, Any]) -> None:
        """Note them after the second side, and choose."""
        self._after = dict(variables)

    def gives(self, name: str) -> bool:
        """Whether a variable had a value before the branch."""
        return name in self._before

    def take(self, name: str) -> Argument:
        """Give the value of a variable before the branch."""
        return self._before[name]

    def chosen(self, name: str) -> Argument:
        """Give the value of a variable after the branch."""
        # A variable that only one side sets is read where that side has run, or Python raises.
        one, other = self._then.get(name, self._after.get(name)), self._after.get(name)
        return _chosen(self._condition, one, other, f"`{name}`", self._place)


def either(condition: Argument, one: Callable[[], Any], other: Callable[[], Any], place: str) -> Argument:
    """Give `one() if condition else other()`."""
    if not isinstance(condition, Tensor):
        return one() if condition else other()
    return _chosen(condition, one(), other(), "the value", place)


def all_of(*conditions: Callable[[], Any]) -> Argument:
    """Give `a and b` as a condition."""
    return _joined(operator.and_, conditions, ends=False)


def any_of(*conditions: Callable[[], Any]) -> Argument:
    """Give `a or b` as a condition."""
    return _joined(operator.or_, conditions, ends=True)


def opposite(condition: Argument) -> Argument:
    """Give `not a` as a condition."""
    return torch.logical_not(condition) if isinstance(condition, Tensor) else not condition


def _joined(join: Callable[[Any, Any], Any], conditions: tuple[Callable[[], Any], ...], *, ends: bool) -> Argument:
    """Join conditions up to the first that is no tensor and decides."""
    found: Any = None
    for each in conditions:
        condition = each()
        if not isinstance(condition, Tensor):
            if bool(condition) is ends:
                return ends if found is None else torch.full_like(found, ends)
            continue
        condition = _one_bool(condition)
        found = condition if found is None else join(found, condition)
    return not ends if found is None else found


def _one_bool(condition: Tensor) -> Tensor:
    """Make a condition of one value a bool (), as `bool(condition)` does."""
    return condition.reshape(()) if condition.dtype == torch.bool else condition.reshape(()) != 0


def _chosen(condition: Argument, one: Argument, other: Argument, what: str, place: str) -> Argument:
    if one is other:
        return one
    (some, spec), (others, other_spec) = _pytree.tree_flatten(one), _pytree.tree_flatten(other)
    if spec != other_spec:
        raise UnsupportedModule(
            f"the two sides of the branch on values at {place} give {what} another structure. {_HINT}"
        )
    test = _one_bool(condition)
    leaves = []
    for a, b in zip(some, others, strict=True):
        if isinstance(a, Tensor) and isinstance(b, Tensor) and same_shape(a, b) and a.dtype == b.dtype:
            leaves.append(torch.where(test, a, b))
        elif a is b or (type(a) is type(b) and not isinstance(a, Tensor) and bool(a == b)):
            leaves.append(a)
        elif type(a) is type(b) and isinstance(a, int | float):
            leaves.append(torch.where(test, a, b))
        else:
            raise UnsupportedModule(
                f"the two sides of the branch on values at {place} give {what} as {_named(a)} and as {_named(b)}. "
                f"{_HINT}"
            )
    return _pytree.tree_unflatten(leaves, spec)


_HINT = (
    "An exported program computes both sides and chooses by the condition, so both have to give tensors of one shape "
    "and type: choose with torch.where, or leave the branch out."
)


def _named(value: Argument) -> str:
    if isinstance(value, Tensor):
        return f"a tensor ({', '.join(map(str, value.shape))}) of {str(value.dtype).removeprefix('torch.')}"
    return repr(value)
