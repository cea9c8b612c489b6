"""A variable that grows by `torch.cat` in each step of a loop, written as a list that is joined after the loop.

A scan's state keeps its size, and what is only put together needs none::

    outputs = None                                              items = []
    for t in range(x.size(1)):                                  for t in range(x.size(1)):
        h = cell(x[:, t], h)                                        h = cell(x[:, t], h)
        if outputs is None:                                         items.append(h.unsqueeze(1))
            outputs = h.unsqueeze(1)                            outputs = torch.cat(items, 1)
        else:
            outputs = torch.cat((outputs, h.unsqueeze(1)), 1)
"""

import ast
import copy
import dataclasses

from rnnserve.export.recurrence.loops.names import loaded, stored
from rnnserve.export.recurrence.loops.scope import Scope

__all__ = ["Grown", "grown_in"]


@dataclasses.dataclass(frozen=True)
class Grown:
    """A variable that grows.

    Attributes:
        name: Name of the variable.
        items: Name of the list that stands for it in the loop.
        call: `torch.cat(…)` as the body has it.
        item: What a step adds.
        at_front: Whether it adds that before the rest.
        begins_anew: Whether the first step makes the variable anew, whatever it holds: `if t == 0`.
    """

    name: str
    items: str
    call: ast.Call
    item: ast.expr
    at_front: bool
    begins_anew: bool = False

    def adding(self) -> ast.stmt:
        """Give the statement of a step."""
        how = "insert(0, None)" if self.at_front else "append(None)"
        statement = ast.parse(f"{self.items}.{how}").body[0]
        assert isinstance(statement, ast.Expr)  # noqa: S101 - as written above
        assert isinstance(statement.value, ast.Call)  # noqa: S101
        statement.value.args[-1] = copy.deepcopy(self.item)
        return statement

    def joining(self, hooks: str) -> ast.stmt:
        """Give the statement after the loop, which calls `grown` of a module of hooks."""
        before = "None" if self.begins_anew else f"locals().get({self.name!r})"
        made = ast.parse(f"{self.name} = {hooks}.grown(None, {before}, {self.items}, {self.at_front})").body[0]
        assert isinstance(made, ast.Assign)  # noqa: S101 - as written above
        assert isinstance(made.value, ast.Call)  # noqa: S101
        made.value.args[0] = copy.deepcopy(self.call.func)
        made.value.args += copy.deepcopy(self.call.args[1:])
        made.value.keywords = copy.deepcopy(self.call.keywords)
        return made


def grown_in(loop: ast.For, scope: Scope) -> tuple[list[ast.stmt], list[Grown]]:
    """Write what grows in a loop as lists.

    Args:
        loop: The loop; it stays as it is.
        scope: Names of the function that it is in.

    Returns:
        A copy of the body, in which steps add to lists, and what grows. A variable that the body reads otherwise, or
        sets, grows as it is written.
    """
    body = copy.deepcopy(loop.body)
    found = []
    for at, statement in enumerate(body):
        grown = _growth(statement, loop, scope)
        if grown is None:
            continue
        others = [*body[:at], *body[at + 1 :], ast.Expr(grown.item)]
        if grown.name in loaded(others) | stored([*others, loop.target]):
            continue
        body[at] = _located(grown.adding(), statement)
        found.append(grown)
    return body, found


def _growth(statement: ast.stmt, loop: ast.For, scope: Scope) -> Grown | None:
    match statement:
        case ast.Assign([ast.Name(name)], ast.Call() as call):
            return _joined(name, call, scope)
        case ast.If(test, [ast.Assign([ast.Name(name)], one)], [ast.Assign([ast.Name(other)], two)]) if name == other:
            first = _is_first(test, name, loop, scope)
        case ast.Assign([ast.Name(name)], ast.IfExp(test, one, two)):
            first = _is_first(test, name, loop, scope)
        case _:
            return None
    if first is None:
        return None
    is_where_true, begins_anew = first
    beginning, joining = (one, two) if is_where_true else (two, one)
    grown = _joined(name, joining, scope) if isinstance(joining, ast.Call) else None
    if grown is None or ast.dump(grown.item) != ast.dump(beginning):
        return None
    return dataclasses.replace(grown, begins_anew=begins_anew)


def _joined(name: str, call: ast.Call, scope: Scope) -> Grown | None:
    """Read `torch.cat((name, item), …)`, of which the rest has one value for all steps."""
    rest = [*call.args[1:], *(keyword.value for keyword in call.keywords)]
    if not scope.is_cat(call.func) or not call.args or not all(_is_literal(each) for each in rest):
        return None
    if any(keyword.arg in (None, "out") for keyword in call.keywords):
        return None
    match call.args[0]:
        case ast.Tuple([ast.Name(first), item]) | ast.List([ast.Name(first), item]) if first == name:
            return Grown(name, scope.fresh("grown"), call, item, at_front=False)
        case ast.Tuple([item, ast.Name(last)]) | ast.List([item, ast.Name(last)]) if last == name:
            return Grown(name, scope.fresh("grown"), call, item, at_front=True)
    return None


def _is_first(test: ast.expr, name: str, loop: ast.For, scope: Scope) -> tuple[bool, bool] | None:
    """Read a condition that tells the first step from the others.

    Returns:
        Whether it holds in the first step, rather than in the others, and whether it asks for the number of the step,
        rather than for None; None where it is another condition.
    """
    match test:
        case ast.Compare(ast.Name(asked), [ast.Is() | ast.IsNot() as operator], [ast.Constant(None)]) if asked == name:
            return isinstance(operator, ast.Is), False
        case ast.Compare(ast.Name(asked), [ast.Eq() | ast.NotEq() | ast.Gt() as operator], [ast.Constant(0)]):
            return (isinstance(operator, ast.Eq), True) if asked == _counter(loop, scope) else None
    return None


def _counter(loop: ast.For, scope: Scope) -> str | None:
    """Name the number of a loop's step, which counts from 0."""
    match loop:
        case ast.For(ast.Name(counter), ast.Call(ast.Name("range" as function), [_], [])):
            pass
        case ast.For(ast.Tuple([ast.Name(counter), _]), ast.Call(ast.Name("enumerate" as function), [_], [])):
            pass
        case _:
            return None
    return counter if scope.is_hooked(function) and counter not in stored(loop.body) else None


def _is_literal(node: ast.expr) -> bool:
    return not any(isinstance(each, ast.Name | ast.Call | ast.Attribute) for each in ast.walk(node))


def _located(made: ast.stmt, like: ast.stmt) -> ast.stmt:
    for each in ast.walk(made):
        if not hasattr(each, "lineno") or each.lineno < like.lineno:
            ast.copy_location(each, like)
    return made
