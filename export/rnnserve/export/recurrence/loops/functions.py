"""Running the functions of a module rewritten while it is captured.

The function objects stay: their code is exchanged, and restored afterwards (`interception` says why).
"""

import ast
import contextlib
import types
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from torch import nn

from rnnserve.export.module_functions import functions_of
from rnnserve.export.recurrence.loops.rewriting import SourceFile
from rnnserve.export.recurrence.loops.step_functions import StepFunctionMode
from rnnserve.export.recurrence.loops.step_number import math_of_steps
from rnnserve.export.recurrence.loops.value_branches import branch_at, write_branches
from rnnserve.export.recurrence.loops.value_checks import check_at, codes_of, drop_checks

__all__ = [
    "functions_exchanged",
    "loops_captured",
    "rewritten_functions",
    "value_branch",
    "value_check",
]


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
    with functions_exchanged(functions), math_of_steps(), StepFunctionMode():
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
