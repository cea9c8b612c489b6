"""Nested states: what is said of them, the beginnings that examples stand for, and what calls show of their tensors."""

import dataclasses
import fnmatch
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rnnserve.export.description.input_descriptions import DYNAMIC, InputDescription
from rnnserve.export.errors import WrongArguments
from rnnserve.export.flat_module import MISSING, Filled, Slot
from rnnserve.export.trees import Path, Tree, leaves, mapped, parts_of
from rnnserve.protos.protocol_words import BATCH

__all__ = ["Begin", "FoundState", "StateTree", "beginnings", "describe_state"]

Begin = Callable[[int], Tree]
"""A state at the beginning of a sequence, for a number of rows; None where forward begins by itself."""


@dataclasses.dataclass(frozen=True)
class StateTree:
    """A state of nested containers, in the place of a description of each tensor in it.

    Axes of rows, dtypes and names are found by running the module. An example is the state at the beginning of a
    sequence, as `init_state(batch)` gives it: its rows are alike, and it is recorded as what a request begins with.

    Attributes:
        example: Tree of tensors; or a function that takes the number of rows and gives such a tree; or None for what
            forward returns where it is called without the state.
        initial: A number for all values at the beginning, where the example is of another moment.
        integers: The lowest value and one more than the highest of leaves of integers, by path: {"position": (0, 512)}.
            A path may have wildcards: "*.position".
    """

    example: Any = None
    initial: float | None = None
    integers: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)

    def bounds(self, path: Path) -> tuple[int, int] | None:
        """The bounds of a leaf of integers."""
        name = ".".join(path)
        return next((limits for of, limits in self.integers.items() if fnmatch.fnmatchcase(name, of)), None)


@dataclasses.dataclass(frozen=True)
class FoundState:
    """A state that has been looked at.

    Attributes:
        tree: Its structure, with slots in the places of tensors.
        described: Descriptions of its tensors, by the names that they have as inputs.
    """

    tree: Filled
    described: Mapping[str, InputDescription]


def beginnings(name: str, what: StateTree) -> list[Begin]:
    """Give the ways in which an example can be made for any number of rows: one for each axis of the rows.

    Raises:
        WrongArguments: If no axis of it can have the rows.
    """
    example = what.example
    if example is None:
        return [lambda _: None]
    if callable(example) and parts_of(example) is None and not isinstance(example, Tensor):
        return [example]
    shapes = [tuple(leaf.shape) for _, leaf in leaves(example) if isinstance(leaf, Tensor)]
    if not shapes:
        return [lambda _: example]
    places = [at for at in range(min(map(len, shapes))) if len({shape[at] for shape in shapes}) == 1]
    if not places:
        raise WrongArguments(
            f'the example of "{name}" has no number of rows that each of its tensors has at the same axis: '
            f"{', '.join(str(list(shape)) for shape in shapes)}. Keep a row of each tensor for each sequence, "
            "or give a function of the number of rows: StateTree(lambda rows: …)"
        )
    return [functools.partial(_with_rows, name, what, at) for at in places]


def _with_rows(name: str, what: StateTree, at: int, rows: int) -> Tree:
    """Make an example of so many rows, which are along one axis of all its tensors."""

    def repeated(path: Path, leaf: Any) -> Any:  # noqa: ANN401 - a tensor or a constant
        if not isinstance(leaf, Tensor):
            return leaf
        if what.initial is None:
            _first_row(".".join((name, *path)), leaf, at)
        return leaf.index_select(at, torch.zeros(rows, dtype=torch.int64))

    return mapped(what.example, repeated)


def _first_row(where: str, leaf: Tensor, rows: int) -> Tensor:
    """Give the row of a beginning that all its rows are like."""
    row = leaf.narrow(rows, 0, 1)
    if not torch.equal(row.expand_as(leaf), leaf):
        raise WrongArguments(
            f'the example of "{where}" has other values in each row, so it is no beginning: give one, as init_state '
            "does, or StateTree(example, initial=0), and reset a module that has run before"
        )
    return row


def describe_state(
    name: str, what: StateTree, begin: Tree | None, held: Mapping[Path, Any], after: Sequence[Tree]
) -> FoundState:
    """Describe the tensors of a state.

    Args:
        name: The parameter or attribute.
        what: Description by the user.
        begin: The state that the module was given, or None if it began by itself.
        held: The leaves of the state before a call.
        after: The state after a call with some rows, after one with more rows, and after one of more steps.

    Raises:
        WrongArguments: If it cannot be a model's state; the message says which part, and why.
    """
    first, more_rows, more_steps = (dict(leaves(tree)) for tree in after)
    _check_constants(name, held, first)
    described: dict[str, InputDescription] = {}

    def slot(path: Path, leaf: Any) -> Any:  # noqa: ANN401 - a tensor or a constant
        if not isinstance(leaf, Tensor):
            return leaf
        where, found = ".".join((name, *path)), first.get(path)
        if not isinstance(found, Tensor):
            raise WrongArguments(f'"{where}" is a tensor before a call, and none after it; a state keeps its structure')
        beginning = leaf if begin is not None else None
        shapes = [tuple(each.shape) for each in (found, more_rows[path], more_steps[path])]
        rows = _rows_axis(where, beginning, shapes)
        sizes = tuple((BATCH, DYNAMIC) if at == rows else (f"axis {at}", size) for at, size in enumerate(shapes[0]))
        low, high = what.bounds(path) or (None, None)
        initial = _initial(where, what, beginning, found, rows)
        described[where] = InputDescription(sizes, found.detach().numpy().dtype, low, high, initial=initial)
        return Slot(where)

    tree = Filled(mapped(after[0] if begin is None else begin, slot))
    if not described:
        raise WrongArguments(
            f'"{name}" holds no tensor after a call, so it is no state: what does forward write to it?'
        )
    return FoundState(tree, described)


def _check_constants(name: str, before: Mapping[Path, Any], after: Mapping[Path, Any]) -> None:
    """Check that what is no tensor has come back as it was."""
    for path, leaf in before.items():
        is_constant = leaf is not None and leaf is not MISSING and not isinstance(leaf, Tensor)
        if is_constant and path in after and not isinstance(after[path], Tensor) and after[path] != leaf:
            raise WrongArguments(
                f'"{".".join((name, *path))}" is {leaf!r} before a call and {after[path]!r} after it: a graph takes '
                "tensors only. Make it a tensor of integers with one number for each row, (batch,)"
            )


def _rows_axis(where: str, begin: Tensor | None, shapes: Sequence[tuple[int, ...]]) -> int:
    """Find the axis of rows of a tensor: its shapes are those after calls with some rows, more rows, and more steps."""
    if shapes[0] != shapes[2] or (begin is not None and tuple(begin.shape) != shapes[0]):
        before = list(begin.shape) if begin is not None else list(shapes[0])
        after = list(shapes[2] if shapes[0] != shapes[2] else shapes[0])
        raise WrongArguments(
            f'"{where}" grows: it is {before} before a call, or after a shorter one, and {after} after it. A state '
            "keeps its size. Keep the last k steps, torch.cat([old, new], dim=1)[:, -k:], and mask those before the "
            "first by a position that is a state, too"
        )
    differ = [at for at, (one, other) in enumerate(zip(shapes[0], shapes[1], strict=True)) if one != other]
    if len(differ) != 1:
        raise WrongArguments(
            f'"{where}" of shape {list(shapes[0])} has no axis of the rows: it is {list(shapes[1])} for one row more. '
            "Rows of a batch are independent sequences, so each needs a value of its own, (batch, …)"
        )
    return differ[0]


def _initial(where: str, what: StateTree, begin: Tensor | None, after: Tensor, rows: int) -> Any:  # noqa: ANN401
    """What a leaf is at the beginning, one row; None where forward's own beginning is to be found."""
    if what.initial is not None:
        return what.initial
    if begin is None:
        return None
    if begin.dtype != after.dtype:
        raise WrongArguments(
            f'"{where}" is {begin.dtype} in the example and {after.dtype} after a call; a state keeps its dtype'
        )
    return _first_row(where, begin, rows).detach().numpy()
