"""The modules that a module runs: those that it registers, and those in its lists, dicts and objects of Python.

`nn.Module.named_modules` gives the former alone. `self.cells = [Cell(), Cell()]` registers nothing, nor does
`self.decoder = Decoder(…)` of an ordinary class, and both run all the same. An object is as a dict of its attributes.
"""

import collections
import types
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from rnnserve.export.source_lines import is_users_class

__all__ = [
    "Wrapper",
    "containers_in",
    "held_modules",
    "held_objects",
    "is_object",
    "owner_of",
    "path_of_the_users",
    "refilling",
    "users_module",
]

_REGISTERED = {"_modules", "_parameters", "_buffers"}

_PLAIN = frozenset({bool, float, int, str, types.NoneType})
"""Types of most attributes, whose values hold nothing."""

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


def held_modules(module: nn.Module) -> dict[str, nn.Module]:
    """Give all modules by their paths, as "cells.0.linear": the module itself, registered ones, and then others."""
    named = dict(module.named_modules())
    seen = {id(each) for each in named.values()}
    waiting = list(named.items())
    for path, each in waiting:  # it grows
        for key, value in each.__dict__.items():
            if key in _REGISTERED or type(value) in _PLAIN:
                continue
            for inner, found in _modules_in(f"{path}.{key}".lstrip("."), value):
                if id(found) not in seen:
                    seen.add(id(found))
                    named[inner] = found
                    waiting.append((inner, found))
    return named


def held_objects(module: nn.Module) -> dict[str, Any]:
    """Give all modules by their paths, and the objects of ordinary classes that they hold, in lists and dicts, too."""
    found: dict[str, Any] = dict(held_modules(module))
    seen: set[int] = set()
    for path, each in list(found.items()):
        waiting = [(f"{path}.{key}".lstrip("."), value) for key, value in vars(each).items() if key not in _REGISTERED]
        for at, value in waiting:  # it grows
            if type(value) not in _PLAIN and id(value) not in seen and not isinstance(value, nn.Module):
                seen.add(id(value))
                waiting += [(f"{at}.{key}", entry) for key, entry in _entries(value)]
                if is_object(value):
                    found[at] = value
    return found


def containers_in(value: Any) -> Iterator[Any]:  # noqa: ANN401 - whatever an attribute holds
    """Give the lists, dicts, sets and deques that an attribute holds, each before those inside of it.

    Of an object of an ordinary class it is the dict of its attributes.
    """
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if id(each) not in seen and (
            isinstance(each, dict | list | tuple | set | collections.deque) or is_object(each)
        ):
            seen.add(id(each))
            if not isinstance(each, tuple):
                yield vars(each) if is_object(each) else each
            waiting.extend(entry for _, entry in _entries(each))


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
    return lambda: _refill(container, before)


def _refill(container: Any, entries: list[Any]) -> None:  # noqa: ANN401
    """Put entries into the container that has had them, if it has others now."""
    now = list(container.items()) if isinstance(container, dict) else list(container)
    if len(now) == len(entries) and all(_is_same(one, other) for one, other in zip(now, entries, strict=True)):
        return
    container.clear()
    if isinstance(container, dict | set):
        container.update(entries)
    else:
        container.extend(entries)


def _is_same(one: object, other: object) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other) == 2:  # an item of a dict
        return one[0] is other[0] and one[1] is other[1]
    return one is other


def _modules_in(path: str, value: Any) -> Iterator[tuple[str, nn.Module]]:  # noqa: ANN401
    waiting, seen = [(path, value)], set[int]()
    while waiting:
        at, each = waiting.pop(0)
        if isinstance(each, nn.Module):
            yield from each.named_modules(prefix=at)
        elif id(each) not in seen:
            seen.add(id(each))
            waiting.extend((f"{at}.{key}", entry) for key, entry in _entries(each))


def is_object(value: Any) -> bool:  # noqa: ANN401
    """Whether a value is an object of a class of the user's, or of a package that the user chose."""
    if type(value) in _PLAIN:
        return False
    if isinstance(value, types.SimpleNamespace):
        return True
    if isinstance(value, _NO_OBJECTS):
        return False
    return hasattr(value, "__dict__") and is_users_class(type(value))


def _entries(value: Any) -> list[tuple[Any, Any]]:  # noqa: ANN401
    """Give what is in a container or an object, with its keys, positions or names."""
    if type(value) in _PLAIN:
        return []
    if is_object(value):
        value = vars(value)
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list | tuple | set | collections.deque) else []
