"""Rewriting the source of a function so that its loops can be captured: `for` over steps becomes the runs of one step.

A loop of which the number of steps is known runs as it is written. Which one it is shows when the function runs::

    steps = hooks.stepped(x.unbind(1))
    if hooks.is_symbolic(steps):
        loop = hooks.loop(steps, "model.py", 12, ...)
        while loop.again(locals()):
            ...
    else:
        for x_t in steps:
            ...

Nothing is rewritten whose source does not give the code that runs.
"""

import ast
import copy
import inspect
import types
from collections.abc import Sequence

from rnnserve.export.recurrence.loops.code_objects import codes_by_place, same_code
from rnnserve.export.recurrence.loops.counted import counted_loop
from rnnserve.export.recurrence.loops.expressions import Expressions
from rnnserve.export.recurrence.loops.growing import grown_in
from rnnserve.export.recurrence.loops.leaving import Leaving
from rnnserve.export.recurrence.loops.names import loaded, read_before_written, stored
from rnnserve.export.recurrence.loops.scope import HOOKS, Scope, hook_call

__all__ = ["SourceFile", "has_loop"]

_SUSPENDED = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_Comprehension = ast.ListComp | ast.GeneratorExp


class SourceFile:
    """One file of the user's, and the code that it gives.

    Args:
        file: Name of the file, as Python has it.
        text: Source in it.
    """

    def __init__(self, file: str, text: str) -> None:
        self._file = file
        self._tree = ast.parse(text)
        self._codes = codes_by_place(self._compiled())
        self._nodes = {
            (node.name, min([node.lineno, *(each.lineno for each in node.decorator_list)])): node
            for node in ast.walk(self._tree)
            if isinstance(node, ast.FunctionDef)
        }

    @classmethod
    def of(cls, function: types.FunctionType) -> "SourceFile | None":
        """Read the file of a function; None where there is none, or it cannot be read."""
        try:
            lines, _ = inspect.findsource(function)
            return cls(function.__code__.co_filename, "".join(lines))
        except (OSError, TypeError, SyntaxError, ValueError):
            return None

    def node(self, function: types.FunctionType) -> ast.FunctionDef | None:
        """Give the definition of a function; None where it is not what runs."""
        place = (function.__code__.co_name, function.__code__.co_firstlineno)
        code = self._codes.get(place)
        return self._nodes.get(place) if code is not None and same_code(code, function.__code__) else None

    def rewritten(self, functions: Sequence[types.FunctionType]) -> list[tuple[types.FunctionType, types.CodeType]]:
        """Rewrite functions of the file; those are left out that have no loop, or whose source is not what runs."""
        wanted = []
        for function in functions:
            node = self.node(function)
            if node is not None and has_loop(node) and not function.__code__.co_flags & _SUSPENDED:
                wanted.append((function, node))
        for function, node in wanted:
            _Rewriter(function).function(node)
        codes = codes_by_place(self._compiled()) if wanted else {}
        found = (
            (function, codes[function.__code__.co_name, function.__code__.co_firstlineno]) for function, _ in wanted
        )
        return [(function, code) for function, code in found if code.co_freevars == function.__code__.co_freevars]

    def code_of(self, name: str) -> types.CodeType | None:
        """Give the code of the first function of a name."""
        return next((code for (each, _), code in self._codes.items() if each == name), None)

    def rewritten_code(self, function: types.FunctionType, name: str) -> types.CodeType | None:
        """Give the code of the first function of a name, rewritten as it would be in the place of `function`."""
        node = next(each for each in ast.walk(self._tree) if isinstance(each, ast.FunctionDef) and each.name == name)
        _Rewriter(function).function(node)
        codes = codes_by_place(self._compiled())
        return next((code for (each, _), code in codes.items() if each == name), None)

    def _compiled(self) -> types.CodeType:
        # The whole file: which names of it are imported decides how the compiler writes calls.
        code: types.CodeType = compile(ast.fix_missing_locations(self._tree), self._file, "exec", dont_inherit=True)
        return code


def has_loop(tree: ast.AST) -> bool:
    """Whether there is a loop in a function, or a size or a step may be made a number, `int(n)` or `float(t)`."""
    return any(isinstance(node, ast.For | ast.While | _Comprehension) or _makes_number(node) for node in ast.walk(tree))


def _makes_number(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("float", "int", "len")


class _Rewriter:
    """Rewrites one function, and those within it."""

    def __init__(self, function: types.FunctionType) -> None:
        self.scope = Scope(function)
        self.loops = 0

    def function(self, node: ast.FunctionDef) -> ast.FunctionDef:
        """Rewrite a definition, in place; once only."""
        if not has_loop(node) or getattr(node, "is_rewritten", False):
            return node
        node.is_rewritten = True  # type: ignore[attr-defined]
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
        self.scope.enter(stored(node.body) | {argument.arg for argument in arguments if argument is not None})
        begin = ast.parse(f"from rnnserve.export.recurrence.loops import hooks as {HOOKS}").body[0]
        for each in ast.walk(begin):
            ast.copy_location(each, node.body[0])
        node.body = [begin, *self.block(node.body, set())]
        self.scope.leave()
        return node

    def block(self, statements: Sequence[ast.stmt], after: set[str]) -> list[ast.stmt]:
        """Rewrite statements.

        Args:
            statements: Consecutive ones.
            after: Names that may be read after them.
        """
        changed = []
        for at, statement in enumerate(statements):
            rest = read_before_written(statements[at + 1 :]) | after
            changed.extend(self.statement(statement, rest))
        return changed

    def statement(self, node: ast.stmt, after: set[str]) -> list[ast.stmt]:
        """Rewrite a statement; `after` are names that may be read after it."""
        match node:
            case ast.For():
                return self.loop(node, after)
            case ast.FunctionDef():
                return [self.function(node)]
            case ast.ClassDef() | ast.AsyncFunctionDef():
                return [node]
            case ast.Return() if node.value is not None:
                node.value = hook_call("returned", self.expression(node.value))
                return [node]
            case ast.While():
                return self.while_loop(node, after)
        for field, value in ast.iter_fields(node):
            if isinstance(value, ast.expr):
                setattr(node, field, self.expression(value))
            elif isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                setattr(node, field, self.block(value, after))
            elif isinstance(value, list):
                setattr(node, field, [self.other(each, after) for each in value])
        return [node]

    def other(self, node: ast.AST, after: set[str]) -> ast.AST:
        """Rewrite a part of a statement: an expression, an item of `with`, a handler, a case of `match`."""
        if isinstance(node, ast.expr):
            return self.expression(node)
        if isinstance(node, ast.withitem):
            node.context_expr = self.expression(node.context_expr)
        elif isinstance(node, ast.ExceptHandler | ast.match_case):
            node.body = self.block(node.body, after)
        return node

    def expression(self, node: ast.expr) -> ast.expr:
        """Rewrite an expression."""
        changed: ast.expr = Expressions(self.scope).visit(node)
        return changed

    def while_loop(self, node: ast.While, after: set[str]) -> list[ast.stmt]:
        """Rewrite a `while`: with a counter it is a `for`, where the number of its steps is a symbol."""
        found = counted_loop(node, lambda: f"__rnnserve_count_{self.loops + 1}")
        counted: list[ast.stmt] = []
        if found is not None:
            counter, bound, loop = found
            self.scope.own.update(stored([loop.target]))
            chosen = hook_call("counts", ast.Name(counter, ast.Load()), self.expression(copy.deepcopy(bound)))
            counted = [ast.If(chosen, self.loop(loop, after), [])]
        node.test = self.expression(node.test)
        again = after | read_before_written([node])
        node.body, node.orelse = self.block(node.body, again), self.block(node.orelse, after)
        if not counted:
            return [node]
        assert isinstance(counted[0], ast.If)  # noqa: S101 - as made above
        counted[0].orelse = [node]
        for each in ast.walk(counted[0]):
            if not hasattr(each, "lineno"):
                ast.copy_location(each, node)
        return counted

    def loop(self, node: ast.For, after: set[str]) -> list[ast.stmt]:
        """Rewrite a loop; `after` are names that may be read after it."""
        self.loops += 1
        steps, loop = f"__rnnserve_steps_{self.loops}", f"__rnnserve_loop_{self.loops}"
        body, grown = grown_in(node, self.scope)
        again = read_before_written([ast.For(node.target, _EMPTY, body, [])])
        written = stored([node.target, *body])
        self.scope.own.update(each.items for each in grown)
        carried, last = sorted(again & written), sorted((after & written) - again)
        assignable = sorted((loaded(body) | written) & self.scope.own)
        before = [*ast.parse(f"{steps} = None").body]
        before[0].value = hook_call("stepped", self.expression(node.iter))  # type: ignore[attr-defined]
        taken = [
            f"if {loop}.gives({name!r}): {name} = {loop}.take({name!r})"
            for name in sorted({*assignable, *carried, *last})
        ]
        site = f"{self.scope.file!r}, {node.lineno}, {carried!r}, {last!r}, {assignable!r}"
        lists = ast.parse("\n".join(f"{each.items} = {HOOKS}.made([])" for each in grown)).body
        captured = ast.parse(
            "\n".join(
                [
                    f"{loop} = {HOOKS}.loop({steps}, {site})",
                    "try:",
                    f"    while {loop}.again(locals()):",
                    *(f"        {line}" for line in taken),
                    f"        __rnnserve_element = {loop}.element()",
                    "finally:",
                    f"    {loop}.close()",
                    *taken,
                ]
            )
        ).body
        guarded = captured[1]
        assert isinstance(guarded, ast.Try)  # noqa: S101 - as written above
        runs = guarded.body[0]
        assert isinstance(runs, ast.While)  # noqa: S101
        target = runs.body[-1]
        assert isinstance(target, ast.Assign)  # noqa: S101
        target.targets = [copy.deepcopy(node.target)]
        runs.body.extend(self.block(Leaving(loop).changed(body), after | again))
        captured = [*lists, *captured, *(each.joining(HOOKS) for each in grown)]
        orelse = self.block(copy.deepcopy(node.orelse), after)
        through = after | read_before_written([ast.For(node.target, _EMPTY, node.body, [])])
        plain = ast.For(
            node.target, ast.Name(steps, ast.Load()), self.block(node.body, through), self.block(node.orelse, after)
        )
        chosen = ast.If(ast.parse(f"{HOOKS}.is_symbolic({steps})", mode="eval").body, [*captured, *orelse], [plain])
        for made in (*before, chosen):
            for each in ast.walk(made):
                if not hasattr(each, "lineno") or each.lineno < node.lineno or (made is not chosen and each is made):
                    ast.copy_location(each, node)
        return [*before, chosen]


_EMPTY = ast.Tuple([], ast.Load())
