"""What a module holds: modules, objects and containers, registered or in its lists, dicts and objects of Python.

`nn.Module.named_modules` gives registered modules alone. `self.cells = [Cell(), Cell()]` registers nothing, nor does
`self.decoder = Decoder(…)` of an ordinary class, and both run all the same. An object is as a dict of its attributes.
"""

import collections
import functools
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from rnnserve.export.source_lines import is_users_class, is_users_code
from rnnserve.export.torch_adapter import tree_leaves

__all__ = [
    "CACHED",
    "Wrapper",
    "contents",
    "entries_of",
    "functions_of",
    "held_modules",
    "held_objects",
    "held_values",
    "is_object",
    "names_in",
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
    """Return the path of the user's own module, "module.module", in those that are wrapped around it; else empty."""
    path = []
    while isinstance(module, Wrapper):
        path.append("module")
        module = module.module
    return ".".join(path)


def users_module(module: nn.Module) -> nn.Module:
    """Return the user's own module in those that are wrapped around it."""
    return module.get_submodule(path_of_the_users(module))


def reachable(roots: Iterable[tuple[str, Any]], most: int = 0) -> dict[str, Any]:
    """Find the modules, objects and containers among values with paths, and those that they hold, by path.

    Nothing is found if they have more than `most` entries, unless that is 0.
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
    """Return what can be refilled of what is reachable: containers, and dicts of attributes."""
    for each in held:
        if not isinstance(each, tuple):
            yield each if isinstance(each, _CONTAINERS) else vars(each)


def held_modules(module: nn.Module) -> dict[str, nn.Module]:
    """Return all modules by their paths, as "cells.0.linear": the module itself, registered ones, and then others."""
    found = reachable(module.named_modules())
    return {path: each for path, each in found.items() if isinstance(each, nn.Module)}


def held_objects(module: nn.Module) -> dict[str, Any]:
    """Return all modules by their paths, and the objects of ordinary classes that they hold."""
    found = reachable(module.named_modules())
    return {path: each for path, each in found.items() if isinstance(each, nn.Module) or is_object(each)}


def held_values(module: nn.Module) -> dict[str, list[Any]]:
    """Return what attributes and buffers hold, by their paths, or what is in their lists, dicts and trees."""
    attributes = {
        f"{path}.{name}".lstrip("."): tree_leaves(value)
        for path, each in held_objects(module).items()
        for name, value in vars(each).items()
        if name not in _BOOKKEEPING
    }
    return attributes | {name: [buffer] for name, buffer in module.named_buffers()}


def owner_of(module: nn.Module, path: str) -> Any:  # noqa: ANN401 - a module, or an object that it holds
    """Find the module or the object of an attribute "cells.0.mem", or raise AttributeError."""
    owner = path.rpartition(".")[0]
    try:
        return module.get_submodule(owner)
    except AttributeError:
        held = held_objects(module)
        if owner not in held:
            raise
        return held[owner]


def refilling(container: Any) -> Callable[[], None]:  # noqa: ANN401 - a dict, list, set or deque
    """Return what puts into a container what it holds now, if it holds something else by then."""
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
    """Return what is in a container, an object or a module, with its keys, positions or names."""
    if isinstance(value, nn.Module):
        return [*value.named_children(), *vars(value).items()]
    if is_object(value):
        value = vars(value)
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, _CONTAINERS) else []


CACHED = type(functools.lru_cache(lambda: None))
"""The type of a function with a cache."""

_KEPT_CODES = 65_536
"""How many functions' names are kept: each publication asks for them some dozens of times, and pandas has thousands."""


def functions_of(module: nn.Module) -> list[types.FunctionType]:
    """Return the user's functions that a module may run.

    Every method of the classes of its modules and of the objects that these hold, and the functions and methods that
    those name, as far as they are the user's: not the code of torch and of this package.
    """
    held = list(held_objects(module).values())
    waiting = [value for each in held for value in _of_class(type(each))]
    waiting += [value for each in held for value in vars(each).values()]
    found: dict[int, types.FunctionType] = {}
    classes: dict[int, type] = {}
    while waiting:
        for function in _unwrapped(waiting.pop()):
            if id(function) not in found and is_users_code(function.__code__.co_filename):
                found[id(function)] = function
                waiting.extend(_named_in(function, classes))
    return list(found.values())


def _of_class(kind: type) -> list[Any]:
    classes = [each for each in kind.__mro__ if each not in (object, nn.Module)]
    return [value for each in classes for value in vars(each).values()]


def _unwrapped(value: Any) -> Iterator[types.FunctionType]:  # noqa: ANN401 - whatever a class or a module holds
    """List the functions in a method, a property, a partial, a decorated or scripted function, and a table of them."""
    if isinstance(value, torch.jit.ScriptFunction):  # of which torch.export runs the Python function
        value = getattr(value, "_torchdynamo_inline", None)
    if isinstance(value, staticmethod | classmethod | types.MethodType):
        yield from _unwrapped(value.__func__)
    elif isinstance(value, property):
        yield from _unwrapped(value.fget)
    elif isinstance(value, functools.partial):
        yield from _unwrapped(value.func)
    elif isinstance(value, CACHED):
        yield from _unwrapped(value.__wrapped__)
    elif isinstance(value, dict | list | tuple):
        for entry in value.values() if isinstance(value, dict) else value:
            if isinstance(entry, types.FunctionType | types.MethodType | functools.partial):
                yield from _unwrapped(entry)
    elif isinstance(value, types.FunctionType):
        yield value
        if "__wrapped__" in value.__dict__:
            yield from _unwrapped(value.__dict__["__wrapped__"])


def _named_in(function: types.FunctionType, classes: dict[int, type]) -> list[Any]:
    """Return what the code of a function names: functions, those of classes that are new, and functions of modules."""
    found: list[Any] = []
    cells = [cell.cell_contents for cell in function.__closure__ or () if _is_set(cell)]
    named = [function.__globals__[name] for name in names_in(function.__code__) if name in function.__globals__]
    for value in [*cells, *named]:
        if isinstance(value, types.ModuleType):
            found += [vars(value)[name] for name in names_in(function.__code__) if name in vars(value)]
        elif isinstance(value, type | nn.Module) or is_object(value):
            kind = value if isinstance(value, type) else type(value)
            found += [] if id(kind) in classes else _of_class(kind)
            classes[id(kind)] = kind
        else:
            found.append(value)
    return found


@functools.lru_cache(_KEPT_CODES)
def names_in(code: types.CodeType) -> frozenset[str]:
    """Return the global names and attributes that a code object names, and those within it.

    Names that no source can have are left out: pytest writes its own into the code that it runs.
    """
    inner = [each for each in code.co_consts if isinstance(each, types.CodeType)]
    return frozenset(filter(str.isidentifier, code.co_names)).union(*map(names_in, inner))


def _is_set(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
