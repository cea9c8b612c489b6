"""Descriptions of nested states, and the beginnings that their examples stand for."""

import dataclasses
import fnmatch
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from rnnserve.export.errors import WrongArguments
from rnnserve.export.trees import Path, Tree, leaves, mapped, parts_of

__all__ = ["Begin", "StateTree", "beginnings", "first_row"]

_MOST_PLACES = 64
"""How many ways of placing the rows in the leaves of an example are tried."""

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


def beginnings(name: str, what: StateTree) -> list[Begin]:
    """Give the ways in which an example can be made for any number of rows: one for each place of the rows.

    Raises:
        WrongArguments: If no axis of it can have the rows.
    """
    example = what.example
    if example is None:
        return [lambda _: None]
    if callable(example) and parts_of(example) is None and not isinstance(example, Tensor):
        return [example]
    shapes = {path: tuple(leaf.shape) for path, leaf in leaves(example) if isinstance(leaf, Tensor)}
    if not shapes:
        return [lambda _: example]
    found = [_with_rows(name, what, places) for places in _places(shapes)]
    if not found:
        raise WrongArguments(
            f'the example of "{name}" has no number of rows that each of its tensors has: '
            f"{', '.join(str(list(shape)) for shape in shapes.values())}. Keep a row of each tensor for each sequence, "
            "or give a function of the number of rows: StateTree(lambda rows: …)"
        )
    return found


def _places(shapes: Mapping[Path, tuple[int, ...]]) -> Iterator[dict[Path, int]]:
    """Give the axes that the rows may have in each tensor: the same in all of them first."""
    for size in sorted(set.intersection(*(set(shape) for shape in shapes.values()))):
        options = [[at for at, one in enumerate(shape) if one == size] for shape in shapes.values()]
        same = [(at,) * len(options) for at in range(8) if all(at in some for some in options)]
        for way in dict.fromkeys([*same, *itertools.islice(itertools.product(*options), _MOST_PLACES)]):
            yield dict(zip(shapes, way, strict=True))


def _with_rows(name: str, what: StateTree, places: Mapping[Path, int]) -> Begin:
    def begin(rows: int) -> Tree:
        def repeated(path: Path, leaf: Any) -> Any:  # noqa: ANN401 - a tensor or a constant
            if not isinstance(leaf, Tensor):
                return leaf
            if what.initial is None:
                first_row(".".join((name, *path)), leaf, places[path])
            return leaf.index_select(places[path], torch.zeros(rows, dtype=torch.int64))

        return mapped(what.example, repeated)

    return begin


def first_row(where: str, leaf: Tensor, rows: int) -> Tensor:
    """Give the row of a beginning that all its rows are like.

    Raises:
        WrongArguments: If they are not alike.
    """
    row = leaf.narrow(rows, 0, 1)
    if not torch.equal(row.expand_as(leaf), leaf):
        raise WrongArguments(
            f'the example of "{where}" has other values in each row, so it is no beginning: give one, as init_state '
            "does, or StateTree(example, initial=0), and reset a module that has run before"
        )
    return row
