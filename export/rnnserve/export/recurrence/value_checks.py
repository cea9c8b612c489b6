"""Checks of values that do nothing but raise: `assert lengths.min() > 0`, `if lengths.max() > x.size(1): raise …`.

An exported program can't branch on values. If a check fails, eager gives no result, so a program without the check is
right wherever eager gives one. The check is left out of the function's code while the module is captured, and the user
is told.

`torch.distributions` checks its arguments likewise. Its checks are left out unless a distribution is told to check,
`validate_args=True`.
"""

import ast
import contextlib
import inspect
import types
from collections.abc import Iterator

from torch import nn

from rnnserve.export.recurrence import capture_session
from rnnserve.export.recurrence.refusals import DependsOnValues
from rnnserve.export.source_lines import source_line
from rnnserve.export.surroundings import functions_of
from rnnserve.export.torch_adapter import argument_checks, set_argument_checks

__all__ = ["ValueChecks", "unchecked"]

_CHECKS = {"_assert", "_assert_async", "_check", "_check_value", "_check_tensor_all"}  # of torch
_Codes = dict[tuple[str, int], types.CodeType]


class ValueChecks:
    """The checks of a module that are left out, as captures are refused for them.

    Attributes:
        lines: Where they are, as messages name it.
    """

    def __init__(self, module: nn.Module) -> None:
        self.lines: list[str] = []
        self._module = module
        self._places: set[tuple[str, int]] = set()
        self._codes: list[tuple[types.FunctionType, types.CodeType]] = []

    def leave_out(self, refused: DependsOnValues) -> bool:
        """Leave out the check that a capture was refused for; False if there is none."""
        for file, line in refused.places:
            if (file, line) in self._places:
                continue
            for function in functions_of(self._module):
                if function.__code__.co_filename == file and _check_at(function, line) is not None:
                    self._places.add((file, line))
                    self.lines.append(source_line(file, line))
                    self._codes = self._without_checks()
                    return True
        return False

    @contextlib.contextmanager
    def left_out(self) -> Iterator[None]:
        """Run the functions without these checks in the context. The function objects stay; their code is exchanged."""
        before = [(function, function.__code__) for function, _ in self._codes]
        try:
            for function, code in self._codes:
                function.__code__ = code
            yield
        finally:
            for function, code in before:
                function.__code__ = code

    def _without_checks(self) -> list[tuple[types.FunctionType, types.CodeType]]:
        found = []
        for function in functions_of(self._module):
            lines = [line for file, line in self._places if file == function.__code__.co_filename]
            checks = [check for line in lines if (check := _check_at(function, line)) is not None]
            code = _code_without(function, checks) if checks else None
            if code is not None:
                found.append((function, code))
        return found


def _check_at(function: types.FunctionType, line: int) -> ast.stmt | None:
    """Give the check at a line of a function; None if something else is there."""
    source = _source_of(function)
    if source is None:
        return None
    statements = (each for each in ast.walk(source[1]) if isinstance(each, ast.stmt))
    return next((each for each in statements if _is_check(each) and _holds(each, line)), None)


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


def _source_of(function: types.FunctionType) -> tuple[ast.Module, ast.FunctionDef] | None:
    """Give the tree of a function's file, and the function in it; None if the file isn't what runs."""
    try:
        lines, _ = inspect.findsource(function)
        tree = ast.parse("".join(lines))
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    place = _place(function.__code__)
    code = _codes_in(_compiled(tree, function)).get(place)
    if code is None or not _same_code(code, function.__code__):
        return None
    definitions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    for node in definitions:
        if (node.name, min([node.lineno, *(each.lineno for each in node.decorator_list)])) == place:
            return tree, node
    return None


def _code_without(function: types.FunctionType, checks: list[ast.stmt]) -> types.CodeType | None:
    """Compile a function without some of its statements."""
    source = _source_of(function)
    if source is None:
        return None
    tree, node = source
    lines = {(check.lineno, check.col_offset) for check in checks}

    class Dropping(ast.NodeTransformer):
        def visit(self, each: ast.AST) -> ast.AST:
            if isinstance(each, ast.stmt) and (each.lineno, each.col_offset) in lines and _is_check(each):
                return ast.copy_location(ast.Pass(), each)
            return self.generic_visit(each)

    Dropping().visit(node)
    code = _codes_in(_compiled(tree, function)).get(_place(function.__code__))
    return code if code is not None and code.co_freevars == function.__code__.co_freevars else None


def _compiled(tree: ast.Module, function: types.FunctionType) -> types.CodeType:
    # The whole file: which of its names are imported decides how the compiler writes calls.
    file = function.__code__.co_filename
    code: types.CodeType = compile(ast.fix_missing_locations(tree), file, "exec", dont_inherit=True)
    return code


def _place(code: types.CodeType) -> tuple[str, int]:
    return code.co_name, code.co_firstlineno


def _codes_in(code: types.CodeType) -> _Codes:
    """Give a code object and those in it, by name and first line."""
    found = {_place(code): code}
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            found |= _codes_in(each)
    return found


def _same_code(one: types.CodeType, other: types.CodeType) -> bool:
    """Whether two code objects do the same, wherever they stand."""
    names = ("co_code", "co_names", "co_varnames", "co_freevars")
    if any(getattr(one, name) != getattr(other, name) for name in names) or len(one.co_consts) != len(other.co_consts):
        return False
    return all(
        _same_code(mine, its) if isinstance(mine, types.CodeType) and isinstance(its, types.CodeType) else mine == its
        for mine, its in zip(one.co_consts, other.co_consts, strict=True)
    )


class _Default:
    """The class's attribute: whether a distribution checks that is not told to."""

    def __init__(self, before: bool) -> None:
        self.left_out: set[str] = set()
        self._before = before

    def __get__(self, instance: object, owner: type) -> bool:
        if not capture_session.active():
            return self._before
        self.left_out.add(owner.__name__)
        return False


@contextlib.contextmanager
def unchecked() -> Iterator[set[str]]:
    """Leave the checks out while this thread captures a module; give the names of the distributions, once it has."""
    before = argument_checks()
    default = _Default(before) if before else None
    if default is not None:
        set_argument_checks(default)
    try:
        yield set() if default is None else default.left_out
    finally:
        set_argument_checks(before)
