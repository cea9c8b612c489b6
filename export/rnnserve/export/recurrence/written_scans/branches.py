"""Conditions that depend on steps, written without branches: both are computed, and torch.where chooses."""

import ast
import itertools
from collections.abc import Sequence

from rnnserve.export.recurrence.loops.names import loaded, stored

__all__ = ["Branches", "Unwritten", "parsed", "text_of"]


class Unwritten(Exception):
    """A loop that cannot be written as a scan."""


def text_of(node: ast.AST) -> str:
    """Give the source of a node."""
    return ast.unparse(ast.fix_missing_locations(node))


def parsed(text: str) -> ast.expr:
    """Parse an expression."""
    return ast.parse(text, mode="eval").body


class Branches:
    """Writes the statements of a body without the branches that depend on steps.

    Args:
        of_steps: Names that hold what depends on steps; those that statements set are added.
        known: Names that have a value before the statements.
        taken: All names of the function, so that new ones are no others.
    """

    def __init__(self, of_steps: set[str], known: set[str], taken: set[str]) -> None:
        self.of_steps, self.known, self.taken = of_steps, known, taken

    def fresh(self, name: str) -> str:
        """Give a name that the function does not have yet."""
        found = next(
            each for each in itertools.chain([name], (f"{name}_{n}" for n in range(2, 99))) if each not in self.taken
        )
        self.taken.add(found)
        return found

    def depends(self, node: ast.AST) -> bool:
        """Whether an expression depends on the step."""
        return bool(loaded([node]) & self.of_steps)

    def block(self, statements: Sequence[ast.stmt]) -> list[ast.stmt]:
        """Write statements."""
        written: list[ast.stmt] = []
        for at, statement in enumerate(statements):
            if isinstance(statement, ast.If) and isinstance(statement.body[-1], ast.Continue):
                rest = [*statement.orelse, *statements[at + 1 :]]
                written += self.statement(ast.If(statement.test, statement.body[:-1] or [ast.Pass()], rest))
                return written
            written += self.statement(statement)
        return written

    def statement(self, node: ast.stmt) -> list[ast.stmt]:
        """Write one statement."""
        match node:
            case ast.Break() | ast.Return() | ast.Continue() | ast.While() | ast.Try() | ast.Raise() | ast.Delete():
                raise Unwritten
            case ast.If() if self.depends(node.test):
                return self._chosen(node)
            case ast.If():
                node.body, node.orelse = self.block(node.body), self.block(node.orelse)
            case ast.For():
                self._note(node.target, depends=self.depends(node.iter))
                if _is_enumeration(node) and isinstance(node.target, ast.Tuple):
                    self._note(node.target.elts[0], depends=False)
                node.iter = self.expression(node.iter)
                node.body, node.orelse = self.block(node.body), self.block(node.orelse)
            case ast.AugAssign() if isinstance(node.target, ast.Name):
                name = node.target.id
                value = ast.BinOp(ast.Name(name, ast.Load()), node.op, node.value)
                return self.statement(ast.Assign([ast.Name(name, ast.Store())], value))
            case ast.Assign():
                node.value = self.expression(node.value)
                for target in node.targets:
                    self._note(target, depends=self.depends(node.value))
            case ast.Expr() | ast.AnnAssign() | ast.AugAssign():
                node.value = self.expression(node.value) if node.value is not None else None
        return [node]

    def expression(self, node: ast.expr) -> ast.expr:
        """Write an expression."""
        changed: ast.expr = _Choices(self).visit(node)
        return changed

    def condition(self, node: ast.expr) -> ast.expr:
        """Write a condition so that it is a tensor of one bool."""
        match node:
            case ast.BoolOp():
                operator: ast.operator = ast.BitAnd() if isinstance(node.op, ast.And) else ast.BitOr()
                first, *rest = map(self.condition, node.values)
                for each in rest:
                    first = ast.BinOp(first, operator, each)
                return first
            case ast.UnaryOp(ast.Not()):
                return parsed(f"torch.logical_not({text_of(self.condition(node.operand))})")
            case ast.Call(ast.Name("bool"), [one]):
                return self.condition(one)
            case ast.Compare() | ast.Call(ast.Attribute(_, "any" | "all")):
                return self.expression(node)
        return node if isinstance(node, ast.Name) else parsed(f"({text_of(self.expression(node))}) != 0")

    def _note(self, target: ast.AST, *, depends: bool) -> None:
        names = stored([target])
        self.known |= names
        self.of_steps = self.of_steps | names if depends else self.of_steps - names

    def _chosen(self, node: ast.If) -> list[ast.stmt]:
        """Write a branch on what depends on steps."""
        one, other = _only_value(node.body), _only_value(node.orelse)
        condition = self.condition(node.test)
        if one is not None and (not node.orelse or (other is not None and other[0] == one[0])):
            name, value = one
            against = other[1] if other is not None else ast.Name(name, ast.Load())
            if other is None and name not in self.known:
                raise Unwritten
            choices = f"{text_of(self.expression(value))}, {text_of(self.expression(against))}"
            self._note(ast.Name(name, ast.Store()), depends=True)
            return ast.parse(f"{name} = torch.where({text_of(condition)}, {choices})").body
        return self._both(condition, node)

    def _both(self, condition: ast.expr, node: ast.If) -> list[ast.stmt]:
        """Write both blocks, one after the other, and choose of each name that they set."""
        known, names = set(self.known), sorted(stored([*node.body, *node.orelse]))
        written: list[ast.stmt] = []
        if isinstance(condition, ast.Name) and condition.id not in names:
            chosen = condition.id
        else:
            chosen = self.fresh("chosen")
            written = _lines(f"{chosen} = {text_of(condition)}")
        of_one, of_other = stored(node.body), stored(node.orelse)
        before = {name: self.fresh(f"{name}_before") for name in names if name in known}
        written += _lines(*(f"{old} = {name}" for name, old in before.items()))
        written += self.block(node.body)
        if not node.orelse:
            olds = {name: before.get(name, f"torch.zeros_like({name})") for name in names}
            written += _lines(*(f"{name} = torch.where({chosen}, {name}, {old})" for name, old in olds.items()))
        else:
            then = {name: self.fresh(f"{name}_then") for name in names if name in of_one}
            written += _lines(*(f"{new} = {name}" for name, new in then.items()))
            written += _lines(*(f"{name} = {before[name]}" for name in then if name in before))
            self.known = known | set(then.values())
            written += self.block(node.orelse)
            if any(name not in known and name not in of_one & of_other for name in names):
                raise Unwritten
            written += _lines(
                *(f"{name} = torch.where({chosen}, {then.get(name) or before[name]}, {name})" for name in names)
            )
        self.known |= set(names)
        self.of_steps |= {*names, chosen}
        return written


def _lines(*lines: str) -> list[ast.stmt]:
    return ast.parse("\n".join(lines)).body


class _Choices(ast.NodeTransformer):
    """Puts torch.where in the place of `a if condition else b`, and drops .item()."""

    def __init__(self, branches: Branches) -> None:
        self.branches = branches

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        if not self.branches.depends(node.test):
            self.generic_visit(node)
            return node
        test = self.branches.condition(node.test)
        one, other = self.visit(node.body), self.visit(node.orelse)
        return parsed(f"torch.where({text_of(test)}, {text_of(one)}, {text_of(other)})")

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "item" and self.branches.depends(node):
            return node.func.value
        return node


def _is_enumeration(node: ast.For) -> bool:
    return isinstance(node.iter, ast.Call) and isinstance(node.iter.func, ast.Name) and node.iter.func.id == "enumerate"


def _only_value(statements: Sequence[ast.stmt]) -> tuple[str, ast.expr] | None:
    """Give name and value of a block that sets one name only."""
    match statements:
        case [ast.Assign([ast.Name(name)], value)]:
            return name, value
        case [ast.AugAssign(ast.Name(name), operator, value)]:
            return name, ast.BinOp(ast.Name(name, ast.Load()), operator, value)
    return None
