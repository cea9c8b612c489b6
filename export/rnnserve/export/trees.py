"""Trees of tensors: nested containers as arguments, results or states. Each leaf has a path of keys.

A container is a tuple, list, named tuple, dataclass or mapping. torch's pytree supports a class only after it is
registered for the whole process. So this file takes containers apart and rebuilds them, and torch sees only flat
tensors. The path ("layers", "0", "c") is written `layers.0.c`.
"""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnnserve.export.errors import WrongArguments

Path = tuple[str, ...]

Tree = Any
"""A tensor, a constant, or a container of trees."""


class Leaf:
    """A placeholder in a tree for a value that differs in each call. It never counts as a container."""


def leaves(tree: Tree, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield all leaves of a tree (values other than containers) with their paths, in order."""
    parts = parts_of(tree)
    if parts is None:
        yield path, tree
        return
    for key, part in parts.items():
        yield from leaves(part, (*path, key))


def mapped(tree: Tree, change: Callable[[Path, Any], Any], path: Path = ()) -> Tree:
    """Return a tree with the same containers, and each leaf replaced by `change(path, leaf)`."""
    parts = parts_of(tree)
    if parts is None:
        return change(path, tree)
    return _rebuilt(tree, [mapped(part, change, (*path, key)) for key, part in parts.items()])


def shown(tree: Tree) -> str:
    """Format a tree for messages, with the type of each leaf: `(Tensor, {h: Tensor})`."""
    parts = parts_of(tree)
    if parts is None:
        return type(tree).__name__
    if isinstance(tree, list | tuple) and not hasattr(tree, "_fields"):
        return f"({', '.join(map(shown, parts.values()))})"
    return f"{{{', '.join(f'{key}: {shown(part)}' for key, part in parts.items())}}}"


def flatten_results(result: Tree) -> list[Tensor]:
    """List the tensors in forward's result, in order. Skips None, and raises an error for any other value."""
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, PackedSequence):
        raise WrongArguments("forward returns a PackedSequence. Return pad_packed_sequence of it instead")
    parts = parts_of(result)
    if parts is None and result is not None:
        raise NoTensor(result)
    return [tensor for part in (parts or {}).values() for tensor in flatten_results(part)]


def parts_of(tree: Tree) -> dict[str, Tree] | None:
    """Return the parts of a container by key. None for any other value."""
    if isinstance(tree, Tensor | Leaf):
        return None
    if isinstance(tree, Mapping):
        return {str(key): part for key, part in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return dict(zip(tree._fields, tree, strict=True))
    if isinstance(tree, list | tuple):
        return {str(number): part for number, part in enumerate(tree)}
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return {field.name: getattr(tree, field.name) for field in dataclasses.fields(tree)}
    return None


def _rebuilt(tree: Tree, parts: Sequence[Tree]) -> Tree:
    """Return a container of the same kind with new parts."""
    if isinstance(tree, Mapping):
        made: Any = copy.copy(tree)
        for key, part in zip(tree, parts, strict=True):
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


class NoTensor(WrongArguments):
    """A result of forward contains something other than tensors."""

    def __init__(self, result: object) -> None:
        kind = type(result).__name__
        what = f"{'an' if kind[0] in 'aeiou' else 'a'} {kind} of Python"
        if isinstance(result, np.ndarray | np.generic):
            what = f"{'an array' if isinstance(result, np.ndarray) else 'a number'} of numpy, {result.dtype}"
        is_number = isinstance(result, bool | int | float | np.ndarray | np.generic)
        advice = (
            ". Does forward call .item(), .tolist(), .numpy(), int() or float()? Keep it a tensor, so that forward "
            "returns one with an entry for each row, or for each step of a row: of steps that a row does not have, "
            "give 0, and their number as another output, (batch,)"
            if is_number
            else ". Return tensors, in tuples, dicts or dataclasses"
        )
        super().__init__(f"forward returns {what}, and a model gives tensors only{advice}")
