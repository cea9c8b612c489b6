"""Which names some statements read before they write them, and which they write: what a loop carries from step to step.

Where it is not certain, as in branches and handlers, a name counts as read, and does not count as written.
"""

import ast
from collections.abc import Iterable, Sequence

__all__ = ["loaded", "read_before_written", "stored"]

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def loaded(nodes: Iterable[ast.AST]) -> set[str]:
    """Give every name that is read anywhere in some nodes, functions and comprehensions in them included."""
    return {
        each.id for node in nodes for each in ast.walk(node) if isinstance(each, ast.Name) and _is(each.ctx, ast.Load)
    } | {name for node in nodes for each in ast.walk(node) for name in _changed_in_place(each)}


def stored(nodes: Iterable[ast.AST]) -> set[str]:
    """Give every name that some statements write, apart from those of functions and comprehensions in them."""
    names: set[str] = set()
    for node in nodes:
        _add_stored(node, names)
    return names


def read_before_written(statements: Sequence[ast.stmt]) -> set[str]:
    """Give the names that some statements may read before they have written them."""
    flow = _Flow()
    flow.block(statements)
    return flow.reads


def _is(context: ast.expr_context, kind: type[ast.expr_context]) -> bool:
    return isinstance(context, kind)


def _changed_in_place(node: ast.AST) -> list[str]:
    return [node.target.id] if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name) else []


def _add_stored(node: ast.AST, names: set[str]) -> None:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
        names.add(node.id)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        names.add(node.name)
        return
    if isinstance(node, ast.Import | ast.ImportFrom):
        names.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
    if isinstance(node, ast.ExceptHandler) and node.name:
        names.add(node.name)
    if isinstance(node, _SCOPES):
        # Only := writes to the surrounding function.
        names.update(each.target.id for each in ast.walk(node) if isinstance(each, ast.NamedExpr))
        return
    for child in ast.iter_child_nodes(node):
        _add_stored(child, names)


class _Flow:
    """Follows statements in order; `written` is None after a statement that leaves the block."""

    def __init__(self, written: set[str] | None = frozenset()) -> None:  # type: ignore[assignment]
        self.reads: set[str] = set()
        self.written: set[str] | None = None if written is None else set(written)

    def block(self, statements: Sequence[ast.stmt]) -> None:
        """Follow statements."""
        for statement in statements:
            self.statement(statement)

    def statement(self, node: ast.stmt) -> None:
        """Follow one statement."""
        match node:
            case ast.Assign():
                self.read(node.value, *node.targets)
                self.write(*node.targets)
            case ast.AnnAssign():
                self.read(*filter(None, [node.value]), node.target)
                self.write(*([node.target] if node.value is not None else []))
            case ast.AugAssign():
                self.read(node.value, node.target)
                self._add({node.target.id} if isinstance(node.target, ast.Name) else set())
                self.write(node.target)
            case ast.For() | ast.AsyncFor():
                self.read(node.iter)
                self._branches([([node.target], node.body), ([], [])])
                self.block(node.orelse)
            case ast.While():
                self.read(node.test)
                self._branches([([], node.body), ([], [])])
                self.block(node.orelse)
            case ast.If():
                self.read(node.test)
                self._branches([([], node.body), ([], node.orelse)])
            case ast.With() | ast.AsyncWith():
                for item in node.items:
                    self.read(item.context_expr)
                    self.write(*([item.optional_vars] if item.optional_vars is not None else []))
                self.block(node.body)
            case ast.Return() | ast.Raise() | ast.Continue() | ast.Break():
                self.read(node)
                self.written = None
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                self.read(node)
                self._write_names({node.name})
            case ast.Expr() | ast.Assert() | ast.Delete() | ast.Import() | ast.ImportFrom():
                self.read(node)
                self._write_names(stored([node]))
            case ast.Pass() | ast.Global() | ast.Nonlocal():
                pass
            case _:  # try, match: in any order, and without certainty
                self._add(loaded([node]))

    def read(self, *nodes: ast.AST) -> None:
        """Read what expressions load, then write what := in them does."""
        self._add(loaded(nodes))

    def write(self, *targets: ast.AST) -> None:
        """Write the names of targets."""
        self._write_names(stored(targets))

    def _add(self, names: set[str]) -> None:
        if self.written is not None:
            self.reads |= names - self.written

    def _write_names(self, names: set[str]) -> None:
        if self.written is not None:
            self.written |= names

    def _branches(self, branches: Sequence[tuple[Sequence[ast.AST], Sequence[ast.stmt]]]) -> None:
        """Follow blocks of which one runs, each after targets that it writes first."""
        ends = []
        for targets, statements in branches:
            branch = _Flow(self.written)
            branch.write(*targets)
            branch.block(statements)
            self._add(branch.reads)
            ends.append(branch.written)
        open_ends = [end for end in ends if end is not None]
        self.written = set.intersection(*open_ends) if open_ends else None
