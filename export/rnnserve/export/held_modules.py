"""What a module holds: modules, objects and containers, registered or in its lists, dicts and objects of Python.

`nn.Module.named_modules` gives registered modules alone. `self.cells = [Cell(), Cell()]` registers nothing, nor does
`self.decoder = Decoder(…)` of an ordinary class, and both run all the same. An object is as a dict of its attributes.
"""

import collections
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from rnnserve.export.source_lines import is_users_class

__all__ = [
    "Wrapper",
    "contents",
    "entries_of",
    "held_modules",
    "held_objects",
    "held_values",
    "is_object",
    "owner_of",
    "path_of_the_users",
    "reachable",
    "refilling",
    "users_module",
]

_BOOKKEEPING = {"_parameters", "_buffers", "_modules", "_flat_weights", "_flat_weight_refs"}
"""PyTorch's own attributes, which change whenever parameters are replaced."""

_PLAIN = frozenset({bool, float, int, str, types.NoneType})
"""Types of most attributes, whose values hold nothing."""

_CONTAINERS = (dict, list, tuple, set, collections.deque)
_NO_OBJECTS = (nn.Module, Tensor, type, types.FunctionType, types.ModuleType, dict, list, tuple, set)


class Wrapper(nn.Module):
    """A module of the export's own around another one, `module`: paths that users see begin within it."""

    module: nn.Module


def path_of_the_users(module: nn.Module) -> str:
    """Give the path of the user's own module, "module.module", in those that are wrapped around it; else empty."""
    path = []
    while isinstance(module, Wrapper):
        path.append("module")
        module = module.module
    return ".".join(path)


def users_module(module: nn.Module) -> nn.Module:
    """Give the user's own module in those that are wrapped around it."""
    return module.get_submodule(path_of_the_users(module))


def reachable(roots: Iterable[tuple[str, Any]], most: int = 0) -> dict[str, Any]:
    """Give the modules, objects and containers among some values, and those that they hold, each with its path.

    Args:
        roots: Values, with their paths.
        most: Entries of all of them from which on nothing is given, or 0 for any number.
    """
    found: dict[str, Any] = {}
    seen: set[int] = set()
    entries = 0
    waiting = list(roots)
    for path, value in waiting:  # it grows
        holds = isinstance(value, (nn.Module, *_CONTAINERS)) or is_object(value)
        if not holds or id(value) in seen:
            continue
        seen.add(id(value))
        found[path] = value
        inner = entries_of(value)
        entries += 1 + len(inner)
        if most and entries > most:
            return {}
        waiting += [(f"{path}.{key}".lstrip("."), entry) for key, entry in inner if type(entry) not in _PLAIN]
    return found


def contents(held: Iterable[Any]) -> Iterator[Any]:
    """Give what can be refilled of what is reachable: containers, and dicts of attributes."""
    for each in held:
        if not isinstance(each, tuple):
            yield each if isinstance(each, _CONTAINERS) else vars(each)


def held_modules(module: nn.Module) -> dict[str, nn.Module]:
    """Give all modules by their paths, as "cells.0.linear": the module itself, registered ones, and then others."""
    found = reachable(module.named_modules())
    return {path: each for path, each in found.items() if isinstance(each, nn.Module)}


def held_objects(module: nn.Module) -> dict[str, Any]:
    """Give all modules by their paths, and the objects of ordinary classes that they hold, in lists and dicts, too."""
    found = reachable(module.named_modules())
    return {path: each for path, each in found.items() if isinstance(each, nn.Module) or is_object(each)}


def held_values(module: nn.Module) -> dict[str, list[Any]]:
    """Give what attributes and buffers hold, by their paths, or what is in their lists, dicts and trees."""
    attributes = {
        f"{path}.{name}".lstrip("."): tree_leaves(value)
        for path, each in held_objects(module).items()
        for name, value in vars(each).items()
        if name not in _BOOKKEEPING
    }
    return attributes | {name: [buffer] for name, buffer in module.named_buffers()}


def owner_of(module: nn.Module, path: str) -> Any:  # noqa: ANN401 - a module, or an object that it holds
    """Give the module or the object of an attribute "cells.0.mem", that of the path before its last part.

    Raises:
        AttributeError: If there is none.
    """
    owner = path.rpartition(".")[0]
    try:
        return module.get_submodule(owner)
    except AttributeError:
        held = held_objects(module)
        if owner not in held:
            raise
        return held[owner]


def refilling(container: Any) -> Callable[[], None]:  # noqa: ANN401 - a dict, list, set or deque
    """Give what puts into a container what it holds now, if it holds something else by then."""
    before = list(container.items()) if isinstance(container, dict) else list(container)

    def refill() -> None:
        now = list(container.items()) if isinstance(container, dict) else list(container)
        if len(now) == len(before) and all(map(_is_same, now, before)):
            return
        container.clear()
        if isinstance(container, dict | set):
            container.update(before)
        else:
            container.extend(before)

    return refill


def _is_same(one: object, other: object) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other) == 2:  # an item of a dict
        return one[0] is other[0] and one[1] is other[1]
    return one is other


def is_object(value: Any) -> bool:  # noqa: ANN401
    """Whether a value is an object of a class of the user's, or of a package that the user chose."""
    if type(value) in _PLAIN:
        return False
    if isinstance(value, types.SimpleNamespace):
        return True
    if isinstance(value, _NO_OBJECTS):
        return False
    return hasattr(value, "__dict__") and is_users_class(type(value))


def entries_of(value: Any) -> list[tuple[Any, Any]]:  # noqa: ANN401
    """Give what is in a container, an object or a module, with its keys, positions or names."""
    if isinstance(value, nn.Module):
        return [*value.named_children(), *vars(value).items()]
    if is_object(value):
        value = vars(value)
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, _CONTAINERS) else []
