"""What the body of a loop fills, as the outputs of a step: lists by append, and tensors at the number of the step."""

import ast
import dataclasses
from collections.abc import Callable, Sequence

from rnnserve.export.recurrence.loops.names import loaded
from rnnserve.export.recurrence.written_scans.branches import Unwritten, text_of

__all__ = ["Filled", "Writes"]


@dataclasses.dataclass
class Filled:
    """A list or a tensor that each step fills.

    Attributes:
        name: Variable that holds it.
        step: Variable of what a step gives.
        at_front: Whether a step puts it before the others.
        axis: Axis of the steps, of a tensor; None for a list.
    """

    name: str
    step: str
    at_front: bool = False
    axis: int | None = None


class Writes:
    """Replaces what fills lists and tensors by variables of the step.

    Args:
        number: Name of the number of the step, or "".
        is_list: Function that tells whether a variable holds a list before the loop.
        varying: Names that depend on steps: a branch on one has no part in filling.
        fresh: Function that gives a name that is new.

    Attributes:
        filled: What is filled.
    """

    def __init__(
        self, number: str, is_list: Callable[[str], bool], varying: set[str], fresh: Callable[[str], str]
    ) -> None:
        self.number, self.is_list, self.varying, self.fresh = number, is_list, varying, fresh
        self.filled: list[Filled] = []

    def block(self, statements: Sequence[ast.stmt], *, may_fill: bool = True) -> list[ast.stmt]:
        """Write statements."""
        return [self._statement(each, may_fill) for each in statements]

    def _statement(self, node: ast.stmt, may_fill: bool) -> ast.stmt:
        match node:
            case ast.Expr(ast.Call(ast.Attribute(ast.Name(name), "append"), [value])) if self.is_list(name):
                return self._fill(name, value, may_fill)
            case ast.AugAssign(ast.Name(name), ast.Add(), ast.List([value]) | ast.Tuple([value])) if self.is_list(name):
                return self._fill(name, value, may_fill)
            case ast.Expr(ast.Call(ast.Attribute(ast.Name(name), "insert"), [ast.Constant(0), value])) if self.is_list(
                name
            ):
                return self._fill(name, value, may_fill, at_front=True)
            case ast.Assign([ast.Subscript(ast.Name(name), index)], value) if self.number in loaded([index]):
                return self._fill(name, value, may_fill, axis=self._axis(index))
            case ast.If():
                may = may_fill and not loaded([node.test]) & self.varying
                node.body, node.orelse = self.block(node.body, may_fill=may), self.block(node.orelse, may_fill=may)
            case ast.For():
                node.body = self.block(node.body, may_fill=False)
        return node

    def _fill(
        self, name: str, value: ast.expr, may: bool, *, at_front: bool = False, axis: int | None = None
    ) -> ast.stmt:
        if not may or any(each.name == name for each in self.filled):
            raise Unwritten
        step = self.fresh(f"{name}_step" if not self.number else f"{name}_{self.number}")
        self.filled.append(Filled(name, step, at_front, axis))
        return ast.parse(f"{step} = {text_of(value)}").body[0]

    def _axis(self, index: ast.expr) -> int:
        parts = list(index.elts) if isinstance(index, ast.Tuple) else [index]
        at = next(number for number, part in enumerate(parts) if self.number in loaded([part]))
        others = [text_of(part) for number, part in enumerate(parts) if number != at]
        if (
            text_of(parts[at]) != self.number
            or any(each not in (":", "...") for each in others)
            or "..." in others[:at]
        ):
            raise Unwritten
        return at
