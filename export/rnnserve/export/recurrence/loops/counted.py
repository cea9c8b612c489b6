"""`while` with a counter, written as a `for` over the counter's values."""

import ast
import copy
from collections.abc import Callable

from rnnserve.export.recurrence.loops.names import loaded, stored

__all__ = ["counted_loop"]

_BOUNDS: dict[type[ast.cmpop], tuple[int, int]] = {ast.Lt: (1, 0), ast.LtE: (1, 1), ast.Gt: (-1, 0), ast.GtE: (-1, -1)}
"""Comparisons of a counter: its direction, and what is added to the bound for the end of a range."""


def counted_loop(node: ast.While, fresh: Callable[[], str]) -> tuple[str, ast.expr, ast.For] | None:
    """Write a `while` as a `for`.

    Args:
        node: Loop, such as `while t < x.size(1)`, whose body has `t += 1` once.
        fresh: Function that gives a new name.

    Returns:
        The counter, the bound that it is compared with, and the loop; None where it is another kind of loop.
    """
    match node.test:
        case ast.Compare(ast.Name(counter), [operator], [bound]):
            pass
        case _:
            return None
    steps = [step for each in node.body if (step := _counted(each, counter))]
    stores = [
        each for part in node.body for each in ast.walk(part) if isinstance(each, ast.Name) and each.id == counter
    ]
    if len(steps) != 1 or sum(isinstance(each.ctx, ast.Store) for each in stores) != 1 or node.orelse:
        return None
    if not _is_constant(bound, node.body) or any(isinstance(each, ast.Continue) for each in ast.walk(node)):
        return None
    (step,) = steps
    direction, more = (
        (step, 0) if isinstance(operator, ast.NotEq) and abs(step) == 1 else _BOUNDS.get(type(operator), (0, 0))
    )
    if direction * step <= 0:
        return None
    name = fresh()
    end = ast.BinOp(copy.deepcopy(bound), ast.Add(), ast.Constant(more)) if more else copy.deepcopy(bound)
    items = ast.Call(ast.Name("range", ast.Load()), [ast.Name(counter, ast.Load()), end, ast.Constant(step)], [])
    begin = ast.Assign([ast.Name(counter, ast.Store())], ast.Name(name, ast.Load()))
    loop = ast.For(ast.Name(name, ast.Store()), items, [begin, *copy.deepcopy(node.body)], [])
    for each in ast.walk(loop):
        if not hasattr(each, "lineno"):
            ast.copy_location(each, node)
    return counter, bound, loop


def _counted(node: ast.stmt, counter: str) -> int:
    """Give what a statement adds to the counter; 0 where it does something else."""
    match node:
        case ast.AugAssign(ast.Name(name), ast.Add() | ast.Sub() as operator, ast.Constant(int(step))):
            pass
        case ast.Assign(
            [ast.Name(name)], ast.BinOp(ast.Name(of), ast.Add() | ast.Sub() as operator, ast.Constant(int(step)))
        ) if of == name:
            pass
        case _:
            return 0
    return (step if isinstance(operator, ast.Add) else -step) if name == counter else 0


def _is_constant(bound: ast.expr, body: list[ast.stmt]) -> bool:
    """Whether a bound has one value for all steps: sizes of what the body does not change, and arithmetic of them."""
    called = [each.func for each in ast.walk(bound) if isinstance(each, ast.Call)]
    sizes = all(
        (isinstance(each, ast.Attribute) and each.attr in ("size", "dim"))
        or (isinstance(each, ast.Name) and each.id == "len")
        for each in called
    )
    changed = stored(body) | {
        each.value.id
        for part in body
        for each in ast.walk(part)
        if isinstance(each, ast.Attribute | ast.Subscript) and isinstance(each.value, ast.Name) and _may_change(each)
    }
    return sizes and not (loaded([bound]) - {"len"}) & changed


def _may_change(node: ast.Attribute | ast.Subscript) -> bool:
    """Whether an attribute or item is set, or may be a method that changes what has it."""
    changing = ("append", "pop", "insert", "extend", "remove", "clear", "popleft", "appendleft", "resize_")
    return not isinstance(node.ctx, ast.Load) or (isinstance(node, ast.Attribute) and node.attr in changing)
