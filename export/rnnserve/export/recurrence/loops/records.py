"""Dataclasses, and objects of the user's classes, that a loop makes anew in each step: taken apart, and made again."""

import dataclasses
import enum
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils import _pytree

from rnnserve.export.held_modules import is_object
from rnnserve.export.recurrence.argument_types import Argument

__all__ = ["entries_of", "is_record", "opened", "rebuilt"]


@dataclasses.dataclass
class _Opened:
    """The entries of a record, for pytree.

    Attributes:
        kind: Class of the record.
        entries: What it holds, by name.
    """

    kind: type
    entries: dict[str, Any]


def is_record(value: Argument) -> bool:
    """Whether a value is a dataclass, or an object of a class of the user's, that holds tensors itself."""
    if isinstance(value, type | Tensor | enum.Enum) or not (dataclasses.is_dataclass(value) or is_object(value)):
        return False
    leaves = _pytree.tree_leaves([entry for entry in entries_of(value).values() if entry is not value])
    return any(isinstance(leaf, Tensor) for leaf in leaves)


def entries_of(value: Argument) -> dict[str, Any]:
    """Give what a record holds, by name; those of a class with slots, too."""
    named = [field.name for field in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else []
    return {name: getattr(value, name) for name in named if hasattr(value, name)} | getattr(value, "__dict__", {})


def opened(value: Argument, each: Callable[[Any], Any]) -> Argument:
    """Give a record as pytree takes it apart, each of its entries changed by a function."""
    return _Opened(type(value), {name: each(entry) for name, entry in entries_of(value).items()})


def rebuilt(value: Argument, each: Callable[[Any], Any]) -> Argument:
    """Make a record like another, each of its entries changed by a function, without a call of its class."""
    return _made([each(entry) for entry in entries_of(value).values()], (type(value), tuple(entries_of(value))))


def _made(entries: Any, context: tuple[type, tuple[str, ...]]) -> Any:  # noqa: ANN401 - as pytree has them
    kind, names = context
    made: Any = object.__new__(kind)
    for name, entry in zip(names, entries, strict=True):
        object.__setattr__(made, name, entry)  # of a frozen one, too
    return made


_pytree.register_pytree_node(
    _Opened, lambda record: (list(record.entries.values()), (record.kind, tuple(record.entries))), _made
)
