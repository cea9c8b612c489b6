"""Checks of values that do nothing but raise: `assert lengths.min() > 0`, `if lengths.max() > x.size(1): raise …`.

An exported program cannot branch on values. Where a check fails, eager gives no result, so that a program without it is
right wherever eager gives one. The check is left out of the function while it is captured; the user is told.
"""

import ast
import types
from collections.abc import Collection, Sequence

from rnnserve.export.recurrence.loops.places import at_places
from rnnserve.export.recurrence.loops.rewriting import SourceFile

__all__ = ["check_at", "codes_of", "drop_checks"]

_CHECKS = {"_assert", "_assert_async", "_check", "_check_value", "_check_tensor_all"}  # of torch


def check_at(node: ast.AST, line: int) -> ast.stmt | None:
    """Give the check at a line of a function; None where something else stands there."""
    statements = (each for each in ast.walk(node) if isinstance(each, ast.stmt))
    return next((each for each in statements if _is_check(each) and _holds(each, line)), None)


def drop_checks(
    file: SourceFile, functions: Sequence[types.FunctionType], without: Collection[tuple[str, int]]
) -> list[types.FunctionType]:
    """Leave checks out of the functions of a file, in its tree, and give the functions that had them.

    Args:
        file: Source file of the functions.
        functions: Functions of the file.
        without: Files and lines of the checks.
    """
    found = []
    for function, node, checks in at_places(file, functions, without, check_at):
        _Dropper(checks).visit(node)
        found.append(function)
    return found


def codes_of(
    file: SourceFile, functions: Sequence[types.FunctionType]
) -> list[tuple[types.FunctionType, types.CodeType]]:
    """Give functions of a file, each with its code as the file's tree is now."""
    whole = file._compiled() if functions else None  # noqa: SLF001 - of the same folder
    found = []
    for function in functions:
        code = None if whole is None else _code_at(whole, function.__code__)
        if code is not None and code.co_freevars == function.__code__.co_freevars:
            found.append((function, code))
    return found


def _code_at(code: types.CodeType, place: types.CodeType) -> types.CodeType | None:
    if (code.co_name, code.co_firstlineno) == (place.co_name, place.co_firstlineno):
        return code
    inner = (_code_at(each, place) for each in code.co_consts if isinstance(each, types.CodeType))
    return next((each for each in inner if each is not None), None)


def _is_check(node: ast.stmt) -> bool:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        called = node.value.func
        return isinstance(called, ast.Attribute) and called.attr in _CHECKS
    if isinstance(node, ast.If):
        return not node.orelse and all(isinstance(each, ast.Raise) for each in node.body)
    return isinstance(node, ast.Assert)


def _holds(node: ast.stmt, line: int) -> bool:
    """Whether a line is one of a check, or of the condition before what it raises."""
    end = node.test.end_lineno if isinstance(node, ast.If) else node.end_lineno
    return node.lineno <= line <= (end or node.lineno)


class _Dropper(ast.NodeTransformer):
    """Puts `pass` in the place of statements."""

    def __init__(self, checks: Sequence[ast.stmt]) -> None:
        self._checks = checks

    def visit(self, node: ast.AST) -> ast.AST:
        """Visit a node."""
        if any(node is check for check in self._checks):
            return ast.copy_location(ast.Pass(), node)
        return super().generic_visit(node)
