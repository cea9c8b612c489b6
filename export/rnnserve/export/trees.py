"""Trees of tensors: nested containers as arguments, results or states. Each leaf has a path of keys.

A container is a tuple, list, dict, named tuple or dataclass, or an object with keys and items like a dict (tianshou's
Batch, a TensorDict). torch's pytree supports a class only after it is registered for the whole process. So this file
takes containers apart and rebuilds them, and torch sees only flat tensors. The path ("layers", "0", "c") is written
`layers.0.c`.
"""

import contextlib
import copy
import dataclasses
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode

from rnnserve.export.errors import WrongArguments
from rnnserve.export.source_lines import is_users_code, source_line

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


def _items_of(value: Any) -> Mapping[Any, Any] | None:  # noqa: ANN401 - any argument or result of forward
    if isinstance(value, Mapping):
        return value
    if isinstance(value, nn.Module | type) or not hasattr(value, "__getitem__"):
        return None
    keys = getattr(value, "keys", None)
    return {key: value[key] for key in keys()} if callable(keys) else None


def _rebuilt(tree: Tree, parts: Sequence[Tree]) -> Tree:
    """Return a container of the same kind with new parts."""
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


class NoTensor(WrongArguments):
    """A result of forward contains something other than tensors. `line` is the user's code that converted a tensor."""

    def __init__(self, result: object, line: str = "") -> None:
        self.result = result
        kind = type(result).__name__
        what = f"{'an' if kind[0] in 'aeiou' else 'a'} {kind} of Python"
        if isinstance(result, np.ndarray | np.generic):
            what = f"{'an array' if isinstance(result, np.ndarray) else 'a number'} of numpy, {result.dtype}"
        is_number = isinstance(result, bool | int | float | np.ndarray | np.generic)
        advice = (
            f"{line}. Keep it a tensor with an entry for each row, or for each step of each row. Return 0 for steps "
            "beyond a row's length, and the lengths as another output, (batch,)"
            if is_number
            else ". Return tensors, in tuples, dicts or dataclasses"
        )
        super().__init__(f"forward returns {what}, but a model returns only tensors{advice}")


def made_of_a_tensor(error: NoTensor, call: Callable[[], object]) -> NoTensor:
    """Call a module again to find the line that last converts a tensor, and return the error with this line."""
    with _Makers() as makers, contextlib.suppress(NoTensor):
        call()
    return NoTensor(error.result, makers.last)


class _Makers(TorchFunctionMode):
    """Records the line of the user's code that last converted a tensor to a number, a list or an array."""

    MAKING: Final = {
        Tensor.item: ".item()",
        Tensor.tolist: ".tolist()",
        Tensor.numpy: ".numpy()",
        Tensor.__int__: "int()",
        Tensor.__float__: "float()",
    }
    last = ""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Run `func`, and record the line that called it."""
        del types
        frames = traceback.extract_stack() if func in self.MAKING else []
        if users := [each for each in frames if is_users_code(each.filename)]:
            place = source_line(users[-1].filename, users[-1].lineno)
            self.last = f", made from a tensor with {self.MAKING[func]} (at {place}, {users[-1].line!r})"
        return func(*args, **(kwargs or {}))
