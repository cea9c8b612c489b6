"""Branches on values, written so that both sides run: `if x.sum() > 0: h = …`, `a if x.any() else b`.

An exported program has no branch. Both sides of one may run where neither does anything but set variables; `choices`
then chooses what each holds. Sides that write to tensors, attributes or items, or call for an effect, stay a branch.
"""

import ast
import copy
import types
from collections.abc import Collection, Iterator, Sequence

from rnnserve.export.recurrence.loops.names import stored
from rnnserve.export.recurrence.loops.places import at_places
from rnnserve.export.recurrence.loops.rewriting import SourceFile
from rnnserve.export.source_lines import source_line

__all__ = ["branch_at", "write_branches"]

_CHOICES, _CHOICE = "__rnnserve_choices", "__rnnserve_choice"
_RETURNED = "__rnnserve_returned__"  # which Python leaves as it is in a class
_Branch = ast.If | ast.IfExp
_PLAIN = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.If, ast.Pass, ast.Assert)


def branch_at(function: ast.FunctionDef, line: int) -> _Branch | None:
    """Give the innermost branch whose condition is at a line, and both sides of which may run; None where none is."""
    found = [
        node
        for node in ast.walk(function)
        if isinstance(node, _Branch) and node.test.lineno <= line <= (node.test.end_lineno or line)
    ]
    found = [node for node in found if node.test.lineno == max(each.test.lineno for each in found)]
    if not found:
        return None
    branch = found[-1]
    if isinstance(branch, ast.IfExp):
        return branch if _has_no_effect([branch.body, branch.orelse]) else None
    return branch if _sides(function, branch) is not None else None


def write_branches(
    file: SourceFile, functions: Sequence[types.FunctionType], places: Collection[tuple[str, int]]
) -> list[types.FunctionType]:
    """Write branches of the functions of a file so that both sides run, in its tree; give the functions that had them.

    Args:
        file: Source file of the functions.
        functions: Functions of the file.
        places: Files and lines of the branches.
    """
    found = []
    there: Iterator[tuple[types.FunctionType, ast.FunctionDef, list[_Branch]]]
    there = at_places(file, functions, places, branch_at)
    for function, node, branches in there:
        filename = function.__code__.co_filename
        # What is within another branch first: the sides of that one are copied.
        for number, branch in enumerate(sorted(branches, key=lambda each: -each.test.lineno)):
            where = source_line(filename, branch.test.lineno)
            if isinstance(branch, ast.IfExp):
                _Replacing(branch, [ast.Expr(_either(branch, where))]).visit(node)
            else:
                sides = _sides(node, branch)
                if sides is not None:
                    _Replacing(branch, _statements(branch, *sides, f"{_CHOICE}_{number + 1}", where)).visit(node)
        begin = ast.parse(f"from rnnserve.export.recurrence.loops import choices as {_CHOICES}").body[0]
        for part in ast.walk(begin):
            ast.copy_location(part, node.body[0])
        node.body.insert(0, begin)
        found.append(function)
    return found


def _sides(function: ast.FunctionDef, branch: ast.If) -> tuple[list[ast.stmt], list[ast.stmt], bool] | None:
    """Give what runs where the condition holds, what runs where it does not, and whether each ends the function."""
    body, other, after = list(branch.body), list(branch.orelse), _after(function, branch)
    returns = any(isinstance(each, ast.Return) for part in (body, other) for each in _nodes(part))
    if returns:
        if after is None:
            return None  # within a loop, or another statement
        if not isinstance(body[-1], ast.Return):
            body += copy.deepcopy(after)
        elif not (other and isinstance(other[-1], ast.Return)):
            other += copy.deepcopy(after)
        if not _returns_last(body) or not _returns_last(other):
            return None
        body, other = ([*each[:-1], _returned(each[-1])] for each in (body, other))
    private = [name for name in stored([*body, *other]) if name.startswith("__") and not name.endswith("__")]
    if any(not name.startswith(_CHOICE) for name in private):
        return None  # which Python calls otherwise in a class
    return (body, other, returns) if all(map(_may_run, [*body, *other])) else None


def _nodes(statements: Sequence[ast.stmt]) -> list[ast.AST]:
    return [node for statement in statements for node in ast.walk(statement)]


def _after(function: ast.FunctionDef, branch: ast.If) -> list[ast.stmt] | None:
    """Give the statements after a branch of the function's own block; None where it is in another one."""
    at = next((at for at, each in enumerate(function.body) if each is branch), None)
    return None if at is None else function.body[at + 1 :]


def _returns_last(statements: Sequence[ast.stmt]) -> bool:
    returns = [node for node in _nodes(statements) if isinstance(node, ast.Return)]
    return bool(statements) and len(returns) == 1 and returns[0] is statements[-1]


def _returned(statement: ast.stmt) -> ast.stmt:
    assert isinstance(statement, ast.Return)  # noqa: S101 - as `_returns_last` has found
    value = statement.value or ast.Constant(None)
    return ast.copy_location(ast.Assign([ast.Name(_RETURNED, ast.Store())], value), statement)


def _may_run(statement: ast.stmt) -> bool:
    """Whether a statement does nothing but set variables."""
    if getattr(statement, "is_written", False):
        return True  # a branch of which both sides may run
    for node in ast.walk(statement):
        if isinstance(node, ast.stmt) and not isinstance(node, _PLAIN):
            return False
        if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            return False
        if isinstance(node, ast.AugAssign | ast.Await | ast.Yield | ast.YieldFrom):
            return False  # `h += x` writes to the tensor that h is
    return _has_no_effect([statement])


def _has_no_effect(nodes: Sequence[ast.AST]) -> bool:
    """Whether no method is called that writes to its tensor, such as add_, or an item is put in a list."""
    called = [each.func for node in nodes for each in ast.walk(node) if isinstance(each, ast.Call)]
    methods = [each.attr for each in called if isinstance(each, ast.Attribute)]
    return not any(
        (name.endswith("_") and not name.endswith("__")) or name in ("append", "extend", "insert", "pop", "update")
        for name in methods
    )


def _statements(
    branch: ast.If, body: list[ast.stmt], other: list[ast.stmt], returns: bool, choice: str, place: str
) -> list[ast.stmt]:
    """Write a branch: both sides where the condition is a tensor, one where it is not."""
    names = sorted(name for name in stored([*body, *other]) if not name.startswith(_CHOICE))
    made = ast.parse(
        "\n".join(
            [
                f"{choice} = {_CHOICES}.Choice(None, {place!r})",
                f"if {choice}.both:",
                f"    {choice}.begin(locals())",
                "    pass",
                f"    {choice}.other(locals())",
                *(f"    if {choice}.gives({name!r}): {name} = {choice}.take({name!r})" for name in names),
                "    pass",
                f"    {choice}.end(locals())",
                *(f"    {name} = {choice}.chosen({name!r})" for name in names),
                f"elif {choice}: pass",
                "else: pass",
                *([f"return {_RETURNED}"] if returns else []),
            ]
        )
    ).body
    made[0].value.args[0] = _Conditions().condition(copy.deepcopy(branch.test))  # type: ignore[attr-defined]
    both = made[1]
    assert isinstance(both, ast.If)  # noqa: S101 - as written above
    (plain,) = both.orelse
    assert isinstance(plain, ast.If)  # noqa: S101
    plain.body, plain.orelse = copy.deepcopy(body), copy.deepcopy(other) or [ast.Pass()]
    first, second = (at for at, each in enumerate(both.body) if isinstance(each, ast.Pass))
    both.body[second : second + 1] = copy.deepcopy(other)
    both.body[first : first + 1] = copy.deepcopy(body)
    for statement in made:
        statement.is_written = True  # type: ignore[attr-defined]
        for each in ast.walk(statement):
            if not hasattr(each, "lineno") or each.lineno < branch.lineno:
                ast.copy_location(each, branch)
    return made


def _either(branch: ast.IfExp, place: str) -> ast.Call:
    call = ast.parse(f"{_CHOICES}.either(None, lambda: None, lambda: None, {place!r})", mode="eval").body
    assert isinstance(call, ast.Call)  # noqa: S101 - as written above
    call.args[0] = _Conditions().condition(copy.deepcopy(branch.test))
    for at, value in ((1, branch.body), (2, branch.orelse)):
        side = call.args[at]
        assert isinstance(side, ast.Lambda)  # noqa: S101
        side.body = copy.deepcopy(value)
    for each in ast.walk(call):
        if not hasattr(each, "lineno") or each.lineno < branch.lineno:
            ast.copy_location(each, branch)
    return call


class _Conditions:
    """Writes conditions so that tensors stay tensors."""

    def condition(self, node: ast.expr) -> ast.expr:
        """Write one."""
        match node:
            case ast.BoolOp():
                name = "all_of" if isinstance(node.op, ast.And) else "any_of"
                call = ast.parse(f"{_CHOICES}.{name}({', '.join(['lambda: None'] * len(node.values))})", mode="eval")
                assert isinstance(call.body, ast.Call)  # noqa: S101 - as written
                for side, value in zip(call.body.args, node.values, strict=True):
                    side.body = self.condition(value)  # type: ignore[attr-defined]
                return call.body
            case ast.UnaryOp(ast.Not(), operand):
                function = ast.Attribute(ast.Name(_CHOICES, ast.Load()), "opposite", ast.Load())
                return ast.Call(function, [self.condition(operand)], [])
            case ast.Call(ast.Name("bool"), [one]):
                return self.condition(one)
        changed: ast.expr = _WithoutItems().visit(node)
        return changed


class _WithoutItems(ast.NodeTransformer):
    """Leaves `.item()` out of a condition: a comparison of the tensor gives the same."""

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        is_item = isinstance(node.func, ast.Attribute) and node.func.attr == "item" and not node.args
        return node.func.value if is_item and isinstance(node.func, ast.Attribute) else node


class _Replacing(ast.NodeTransformer):
    """Puts statements in the place of one, and what follows it where they end the function."""

    def __init__(self, node: _Branch, by: list[ast.stmt]) -> None:
        self._node, self._by = node, by

    def visit(self, node: ast.AST) -> ast.AST | list[ast.stmt]:
        """Visit a node."""
        if node is self._node:
            only = self._by[0]
            return only.value if isinstance(node, ast.IfExp) and isinstance(only, ast.Expr) else self._by
        changed: ast.AST = super().generic_visit(node)
        return changed
