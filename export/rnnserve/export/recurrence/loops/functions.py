"""Which functions a module runs, and running them rewritten while it is captured.

Every method of the classes of its modules and of the objects that these hold, and the functions and methods that those
name, as far as they are the user's: the code of torch and of this package stays. The function objects stay, too: their
code is exchanged, and restored afterwards (`interception` says why).
"""

import ast
import contextlib
import functools
import types
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from torch import nn

from rnnserve.export.held_modules import held_objects
from rnnserve.export.recurrence.loops.rewriting import SourceFile
from rnnserve.export.recurrence.loops.step_functions import StepFunctionMode
from rnnserve.export.recurrence.loops.value_branches import branch_at, write_branches
from rnnserve.export.recurrence.loops.value_checks import check_at, codes_of, drop_checks
from rnnserve.export.source_lines import is_users_code

__all__ = [
    "functions_exchanged",
    "functions_of",
    "loops_captured",
    "rewritten_functions",
    "value_branch",
    "value_check",
]


def functions_of(module: nn.Module) -> list[types.FunctionType]:
    """Give the user's functions that a module may run."""
    held = list(held_objects(module).values())
    waiting = [value for each in held for value in _of_class(type(each))]
    waiting += [value for each in held for value in vars(each).values()]
    found: dict[int, types.FunctionType] = {}
    while waiting:
        for function in _unwrapped(waiting.pop()):
            if id(function) not in found and is_users_code(function.__code__.co_filename):
                found[id(function)] = function
                waiting.extend(_named_in(function))
    return list(found.values())


def rewritten_functions(
    module: nn.Module,
    without: Collection[tuple[str, int]] = (),
    chosen: Collection[tuple[str, int]] = (),
    *,
    loops: bool = True,
) -> list[tuple[types.FunctionType, types.CodeType]]:
    """Give the functions of a module that have a loop, with their code as it can be captured.

    Args:
        module: The module.
        without: Files and lines of checks that are left out: the functions of these are given, too.
        chosen: Files and lines of branches of which both sides run: likewise.
        loops: Whether loops are rewritten.
    """
    of_files: dict[str, list[types.FunctionType]] = {}
    for function in functions_of(module):
        of_files.setdefault(function.__code__.co_filename, []).append(function)
    found: list[tuple[types.FunctionType, types.CodeType]] = []
    for functions in of_files.values():
        file = SourceFile.of(functions[0])
        if file is not None:
            checking = drop_checks(file, functions, without)
            checking += [
                each for each in write_branches(file, functions, chosen) if all(each is not other for other in checking)
            ]
            looping = file.rewritten(functions) if loops else []
            found += looping
            found += codes_of(file, [each for each in checking if all(each is not other for other, _ in looping)])
    return found


def value_check(module: nn.Module, places: Iterable[tuple[str, int]]) -> tuple[str, int] | None:
    """Give the first of some files and lines at which a function of a module checks values; None where none does."""
    return _first_with(check_at, module, places)


def value_branch(module: nn.Module, places: Iterable[tuple[str, int]]) -> tuple[str, int] | None:
    """Give the first of some files and lines at which there is a branch whose sides may both run, or None."""
    return _first_with(branch_at, module, places)


def _first_with(
    find: Callable[[ast.FunctionDef, int], Any], module: nn.Module, places: Iterable[tuple[str, int]]
) -> tuple[str, int] | None:
    functions = functions_of(module)
    for filename, line in places:
        for function in functions:
            if function.__code__.co_filename == filename:
                file = SourceFile.of(function)
                node = None if file is None else file.node(function)
                if node is not None and find(node, line) is not None:
                    return filename, line
    return None


@contextlib.contextmanager
def loops_captured(functions: Iterable[tuple[types.FunctionType, types.CodeType]]) -> Iterator[None]:
    """Run functions with other code in the context."""
    with functions_exchanged(functions), StepFunctionMode():
        yield


@contextlib.contextmanager
def functions_exchanged(functions: Iterable[tuple[types.FunctionType, types.CodeType]]) -> Iterator[None]:
    """Run functions with other code in the context, which has no hooks."""
    before = [(function, function.__code__) for function, _ in functions]
    try:
        for function, code in functions:
            function.__code__ = code
        yield
    finally:
        for function, code in before:
            function.__code__ = code


def _of_class(kind: type) -> list[Any]:
    classes = [each for each in kind.__mro__ if each not in (object, nn.Module)]
    return [value for each in classes for value in vars(each).values()]


def _unwrapped(value: Any) -> Iterator[types.FunctionType]:  # noqa: ANN401 - whatever a class or a module holds
    """Give the functions in a method, a property, a partial, a decorated function, and a table of functions."""
    if isinstance(value, staticmethod | classmethod | types.MethodType):
        yield from _unwrapped(value.__func__)
    elif isinstance(value, property):
        yield from _unwrapped(value.fget)
    elif isinstance(value, functools.partial):
        yield from _unwrapped(value.func)
    elif isinstance(value, dict | list | tuple):
        for entry in value.values() if isinstance(value, dict) else value:
            if isinstance(entry, types.FunctionType | types.MethodType | functools.partial):
                yield from _unwrapped(entry)
    elif isinstance(value, types.FunctionType):
        yield value
        if "__wrapped__" in value.__dict__:
            yield from _unwrapped(value.__dict__["__wrapped__"])


def _named_in(function: types.FunctionType) -> list[Any]:
    """Give what the code of a function names: functions, classes, and functions of modules."""
    found: list[Any] = []
    cells = [cell.cell_contents for cell in function.__closure__ or () if _is_set(cell)]
    named = [function.__globals__[name] for name in _names(function.__code__) if name in function.__globals__]
    for value in [*cells, *named]:
        if isinstance(value, types.ModuleType):
            found += [vars(value)[name] for name in _names(function.__code__) if name in vars(value)]
        elif isinstance(value, type):
            found += _of_class(value)
        else:
            found.append(value)
    return found


def _names(code: types.CodeType) -> set[str]:
    inner = [each for each in code.co_consts if isinstance(each, types.CodeType)]
    return set(code.co_names).union(*map(_names, inner))


def _is_set(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
