"""Which functions of the user's a module may run: those of its classes, and those that these name."""

import functools
import types
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from rnnserve.export.held_modules import held_objects, is_object
from rnnserve.export.source_lines import is_users_code

__all__ = ["CACHED", "functions_of", "names_in"]

CACHED = type(functools.lru_cache(lambda: None))
"""The type of a function with a cache."""

_KEPT_CODES = 65_536
"""How many functions' names are kept: each publication asks for them some dozens of times, and pandas has thousands."""


def functions_of(module: nn.Module) -> list[types.FunctionType]:
    """Give the user's functions that a module may run.

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
    """Give the functions in a method, a property, a partial, a decorated or scripted function, and a table of them."""
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
    """Give what the code of a function names: functions, those of classes that are new, and functions of modules."""
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
    """Give the global names and attributes that a code object names, and those within it.

    Names that no source can have are left out: pytest writes its own into the code that it runs.
    """
    inner = [each for each in code.co_consts if isinstance(each, types.CodeType)]
    return frozenset(filter(str.isidentifier, code.co_names)).union(*map(names_in, inner))


def _is_set(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
