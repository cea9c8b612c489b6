"""Trees of tensors, as forwards take and return them, and as states are: containers, and what is in them by key path.

A container is a tuple, list, dict, named tuple or dataclass, or has keys and items as a dict has (tianshou's Batch, a
TensorDict). torch's pytree knows a class only once it is registered, for the whole process. So containers are read and
rebuilt here, and torch sees flat tensors. The path ("layers", "0", "c") is written `layers.0.c`.
"""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rnnserve.export.errors import WrongArguments
from rnnserve.export.returned_numbers import NoTensor

__all__ = ["Path", "Tree", "flatten_results", "leaves", "mapped", "parts_of", "shown"]

Path = tuple[str, ...]

Tree = Any
"""A tensor, a constant, or a container of such."""


def leaves(tree: Tree, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Give what is in a tree that is no container, each with its path, in the tree's order."""
    parts = parts_of(tree)
    if parts is None:
        yield path, tree
        return
    for key, part in parts.items():
        yield from leaves(part, (*path, key))


def mapped(tree: Tree, change: Callable[[Path, Any], Any], path: Path = ()) -> Tree:
    """Give a tree of the same containers with something else in the place of each leaf."""
    parts = parts_of(tree)
    if parts is None:
        return change(path, tree)
    return _rebuilt(tree, [mapped(part, change, (*path, key)) for key, part in parts.items()])


def shown(tree: Tree) -> str:
    """Show the containers of a tree, and what is in them by its type, for messages: `(Tensor, {h: Tensor})`."""
    parts = parts_of(tree)
    if parts is None:
        return type(tree).__name__
    if isinstance(tree, list | tuple) and not hasattr(tree, "_fields"):
        return f"({', '.join(map(shown, parts.values()))})"
    return f"{{{', '.join(f'{key}: {shown(part)}' for key, part in parts.items())}}}"


def flatten_results(result: Tree) -> list[Tensor]:
    """List the tensors in what a forward returned, in their order. None is left out.

    Raises:
        WrongArguments: If there is anything else in it.
    """
    if isinstance(result, torch.nn.utils.rnn.PackedSequence):
        raise WrongArguments("forward returns a PackedSequence; return pad_packed_sequence of it instead")
    parts = parts_of(result)
    if parts is not None:
        return [tensor for part in parts.values() for tensor in flatten_results(part)]
    if result is not None and not isinstance(result, Tensor):
        raise NoTensor(result)
    return [] if result is None else [result]


def parts_of(tree: Tree) -> dict[str, Tree] | None:
    """Give the parts of a container by key, or None for anything else."""
    if isinstance(tree, Tensor):
        return None
    items = _items_of(tree)
    if items is not None:
        return {str(key): part for key, part in items.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return dict(zip(tree._fields, tree, strict=True))
    if isinstance(tree, list | tuple):
        return {str(number): part for number, part in enumerate(tree)}
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return {field.name: getattr(tree, field.name) for field in dataclasses.fields(tree)}
    return None


def _items_of(value: Any) -> Mapping[Any, Any] | None:  # noqa: ANN401 - whatever a forward takes or returns
    if isinstance(value, Mapping):
        return value
    if isinstance(value, nn.Module | type) or not hasattr(value, "__getitem__"):
        return None
    keys = getattr(value, "keys", None)
    return {key: value[key] for key in keys()} if callable(keys) else None


def _rebuilt(tree: Tree, parts: Sequence[Tree]) -> Tree:
    """Give a container of the same kind with other parts."""
    items = _items_of(tree)
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
