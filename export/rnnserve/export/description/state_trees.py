"""States that are nested: dicts, lists, tuples, named tuples and dataclasses of tensors, described by an example.

A leaf's name is the parameter's and its path: `state.layers.0.c`. Leaves that are no tensors belong to the structure,
and have to come back as they were.
"""

import copy
import dataclasses
import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rnnserve.export.errors import WrongArguments
from rnnserve.export.module_interface import items_of

__all__ = [
    "Empty",
    "Path",
    "StateTree",
    "Tree",
    "check_constants",
    "filled",
    "leaves",
    "merged",
    "parts_of",
    "picked",
    "shown",
    "tensors_of",
]

Path = tuple[str, ...]
Tree = Any
"""A tensor, None, a constant, or a container of such."""


@dataclasses.dataclass(frozen=True)
class Empty:
    """A tensor without values, as of a memory of no steps: it is made for each call, and is no input.

    Attributes:
        shape: Its shape, for some number of rows.
        rows: The axis of rows.
        dtype: The type of its values.
    """

    shape: tuple[int, ...]
    rows: int
    dtype: torch.dtype

    def of(self, rows: int) -> Tensor:
        """Make it for a number of rows."""
        return torch.zeros([rows if at == self.rows else size for at, size in enumerate(self.shape)], dtype=self.dtype)


@dataclasses.dataclass(frozen=True)
class StateTree:
    """A state of nested containers, in the place of a description of each tensor in it.

    Axes of rows, dtypes and names are found by running the module. An example is the state at the beginning of a
    sequence, as `init_state(batch)` gives it: its rows are alike, and it is recorded as what a request begins with.

    Attributes:
        example: Tree of tensors; or a function that takes the number of rows and gives such a tree; or None for what
            forward returns where it is called without the state. Where a tree has None for what a call makes, zeros
            have to mean the same.
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


def leaves(tree: Tree, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Give what is in a tree that is no container, each with its path, in the tree's order."""
    parts = parts_of(tree)
    if parts is None:
        yield path, tree
        return
    for key, part in parts.items():
        yield from leaves(part, (*path, key))


def tensors_of(tree: Tree) -> Iterator[tuple[Path, Tensor]]:
    """Give the tensors of a tree."""
    for path, leaf in leaves(tree):
        if isinstance(leaf, Tensor):
            yield path, leaf


def filled(tree: Tree, values: Callable[[Path, Tensor | Empty], Any], path: Path = ()) -> Tree:
    """Give a tree of the same containers with something else in the place of each tensor, empty ones among them."""
    parts = parts_of(tree)
    if parts is None:
        return values(path, tree) if isinstance(tree, Tensor | Empty) else tree
    made = [filled(part, values, (*path, key)) for key, part in parts.items()]
    return _rebuilt(tree, made)


def merged(example: Tree, result: Tree) -> Tree:
    """Give the example with what the result has where the example has None."""
    if example is None:
        return result
    parts, of_result = parts_of(example), parts_of(result)
    if parts is None or of_result is None:
        return example
    return _rebuilt(example, [merged(part, of_result.get(key)) for key, part in parts.items()])


def picked(tree: Tree, result: Tree, path: Path = ()) -> list[tuple[Path, Any]] | None:
    """Give what a result has in the places of a tree's tensors; None where it is no such tree.

    Dicts may have another order, and a list may stand for a tuple. None in the tree takes anything.
    """
    if tree is None:
        return []
    parts, of_result = parts_of(tree), parts_of(result)
    if parts is None:
        if isinstance(tree, Tensor):
            return [(path, result)] if isinstance(result, Tensor) else None
        if isinstance(tree, Empty):
            return [] if isinstance(result, Tensor) else None
        return [] if of_result is None and not isinstance(result, Tensor) else None
    if of_result is None or parts.keys() != of_result.keys():
        return None
    found: list[tuple[Path, Any]] = []
    for key, part in parts.items():
        below = picked(part, of_result[key], (*path, key))
        if below is None:
            return None
        found += below
    return found


def shown(tree: Tree) -> str:
    """Show the containers of a tree, and what is in them by its type, for messages: `(Tensor, {h: Tensor})`."""
    parts = parts_of(tree)
    if parts is None:
        return type(tree).__name__
    if isinstance(tree, list | tuple) and not hasattr(tree, "_fields"):
        return f"({', '.join(map(shown, parts.values()))})"
    return f"{{{', '.join(f'{key}: {shown(part)}' for key, part in parts.items())}}}"


def check_constants(tree: Tree, result: Tree, name: str) -> None:
    """Check that what is no tensor has come back as it was.

    Raises:
        WrongArguments: If it has not: a counter that is a Python int, for example.
    """
    after = dict(leaves(result))
    for path, leaf in leaves(tree):
        if leaf is None or isinstance(leaf, Tensor | Empty):
            continue
        if path in after and not isinstance(after[path], Tensor) and after[path] != leaf:
            raise WrongArguments(
                f'"{".".join((name, *path))}" is {leaf!r} before a call and {after[path]!r} after it: a graph takes '
                "tensors only. Make it a tensor of integers with one number for each row, (batch,)"
            )


def parts_of(tree: Tree) -> dict[str, Tree] | None:
    """Give the parts of a container by key; None for anything else."""
    items = items_of(tree)
    if items is not None:
        return {str(key): part for key, part in items.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return dict(zip(tree._fields, tree, strict=True))
    if isinstance(tree, list | tuple):
        return {str(number): part for number, part in enumerate(tree)}
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type | Empty):
        return {field.name: getattr(tree, field.name) for field in dataclasses.fields(tree)}
    return None


def _rebuilt(tree: Tree, parts: Sequence[Tree]) -> Tree:
    """Give a container of the same kind with other parts."""
    items = items_of(tree)
    if items is not None:
        made: Any = copy.copy(tree)
        for key, part in zip(items, parts, strict=True):
            made[key] = part
        return made
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*parts)
    if isinstance(tree, list | tuple):
        return type(tree)(parts)
    made = copy.copy(tree)
    for field, part in zip(dataclasses.fields(tree), parts, strict=True):
        object.__setattr__(made, field.name, part)
    return made
