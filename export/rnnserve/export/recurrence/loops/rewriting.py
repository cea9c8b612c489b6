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
import builtins
import copy
import inspect
import types
from collections.abc import Sequence

from rnnserve.export.recurrence.loops.code_objects import codes_by_place, same_code
from rnnserve.export.recurrence.loops.counted import counted_loop
from rnnserve.export.recurrence.loops.hooks import HOOKED
from rnnserve.export.recurrence.loops.leaving import Leaving
from rnnserve.export.recurrence.loops.names import loaded, read_before_written, stored

__all__ = ["SourceFile", "has_loop"]

_HOOKS = "__rnnserve_hooks"
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
        self.file = function.__code__.co_filename
        self.free = set(function.__code__.co_freevars)
        self.known = set(function.__globals__)
        self.names: list[set[str]] = []
        self.loops = 0

    def function(self, node: ast.FunctionDef) -> ast.FunctionDef:
        """Rewrite a definition, in place; once only."""
        if not has_loop(node) or getattr(node, "is_rewritten", False):
            return node
        node.is_rewritten = True  # type: ignore[attr-defined]
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
        self.names.append(stored(node.body) | {argument.arg for argument in arguments if argument is not None})
        begin = ast.parse(f"from rnnserve.export.recurrence.loops import hooks as {_HOOKS}").body[0]
        for each in ast.walk(begin):
            ast.copy_location(each, node.body[0])
        node.body = [begin, *self.block(node.body, set())]
        self.names.pop()
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
                node.value = self.call("returned", self.expression(node.value))
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
        changed: ast.expr = _Expressions(self).visit(node)
        return changed

    def while_loop(self, node: ast.While, after: set[str]) -> list[ast.stmt]:
        """Rewrite a `while`: with a counter it is a `for`, where the number of its steps is a symbol."""
        found = counted_loop(node, lambda: f"__rnnserve_count_{self.loops + 1}")
        counted: list[ast.stmt] = []
        if found is not None:
            counter, bound, loop = found
            self.names[-1] |= stored([loop.target])
            chosen = self.call("counts", ast.Name(counter, ast.Load()), self.expression(copy.deepcopy(bound)))
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
        again = read_before_written([ast.For(node.target, _EMPTY, node.body, [])])
        written = stored([node.target, *node.body])
        mine = self.names[-1]
        carried, last = sorted(again & written), sorted((after & written) - again)
        assignable = sorted((loaded(node.body) | written) & mine)
        before = [*ast.parse(f"{steps} = None").body]
        before[0].value = self.call("stepped", self.expression(node.iter))  # type: ignore[attr-defined]
        taken = [
            f"if {loop}.gives({name!r}): {name} = {loop}.take({name!r})"
            for name in sorted({*assignable, *carried, *last})
        ]
        site = f"{self.file!r}, {node.lineno}, {carried!r}, {last!r}, {assignable!r}"
        captured = ast.parse(
            "\n".join(
                [
                    f"{loop} = {_HOOKS}.loop({steps}, {site})",
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
        through = after | again
        leaving = Leaving(loop).changed(copy.deepcopy(node.body))
        runs.body.extend(self.block(leaving, through))
        orelse = self.block(copy.deepcopy(node.orelse), after)
        plain = ast.For(
            node.target, ast.Name(steps, ast.Load()), self.block(node.body, through), self.block(node.orelse, after)
        )
        chosen = ast.If(ast.parse(f"{_HOOKS}.is_symbolic({steps})", mode="eval").body, [*captured, *orelse], [plain])
        for made in (*before, chosen):
            for each in ast.walk(made):
                if not hasattr(each, "lineno") or each.lineno < node.lineno or (made is not chosen and each is made):
                    ast.copy_location(each, node)
        return [*before, chosen]

    def is_hooked(self, name: str) -> bool:
        """Whether a name is a function of Python here that has a hook."""
        shadowed = name in self.free or name in self.known or any(name in names for names in self.names)
        return name in HOOKED and hasattr(builtins, name) and not shadowed

    def call(self, name: str, *arguments: ast.expr) -> ast.Call:
        """Call a function of `hooks`."""
        function = ast.Attribute(ast.Name(_HOOKS, ast.Load()), name, ast.Load())
        call = ast.Call(function, list(arguments), [])
        return ast.copy_location(call, arguments[0]) if hasattr(arguments[0], "lineno") else call


_EMPTY = ast.Tuple([], ast.Load())


class _Expressions(ast.NodeTransformer):
    """Puts hooks in the place of Python's functions, lists and comprehensions."""

    def __init__(self, rewriter: _Rewriter) -> None:
        self.rewriter = rewriter

    def visit_Name(self, node: ast.Name) -> ast.expr:
        # A class that is named, not called, may be for isinstance: `tuple | list`, `kinds = (list, tuple)`.
        is_class = isinstance(getattr(builtins, node.id, None), type)
        return node if is_class or not isinstance(node.ctx, ast.Load) else self._hooked(node)

    def _hooked(self, node: ast.Name) -> ast.expr:
        if not self.rewriter.is_hooked(node.id):
            return node
        hooked = ast.Attribute(ast.Name(_HOOKS, ast.Load()), "HOOKED", ast.Load())
        return ast.copy_location(ast.Subscript(hooked, ast.Constant(node.id), ast.Load()), node)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        one = node.args[0] if len(node.args) == 1 else None
        if isinstance(node.func, ast.Name) and node.func.id == "zip" and isinstance(one, ast.Starred):
            if self.rewriter.is_hooked("zip"):
                return self.rewriter.call("unzipped", self._argument(one.value))
            return node
        node.func = self._hooked(node.func) if isinstance(node.func, ast.Name) else self.visit(node.func)
        node.args = [self._argument(each) for each in node.args]
        node.keywords = [ast.keyword(each.arg, self._argument(each.value)) for each in node.keywords]
        return node

    def _argument(self, node: ast.expr) -> ast.expr:
        if isinstance(node, ast.Name):
            return node
        if isinstance(node, ast.Tuple) and all(isinstance(each, ast.Name | ast.Attribute) for each in node.elts):
            return node  # as in isinstance(x, (list, tuple))
        changed: ast.expr = self.visit(node)
        return changed

    def visit_List(self, node: ast.List) -> ast.expr:
        self.generic_visit(node)
        return self.rewriter.call("made", node) if isinstance(node.ctx, ast.Load) else node

    def visit_ListComp(self, node: ast.ListComp) -> ast.expr:
        return self._comprehension(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> ast.expr:
        return self._comprehension(node)

    def _is_range(self, node: ast.ListComp) -> bool:
        called = node.generators[0].iter
        function = called.func if isinstance(called, ast.Call) else None
        return isinstance(function, ast.Name) and function.id == "range" and self.rewriter.is_hooked("len")

    def _comprehension(self, node: _Comprehension) -> ast.expr:
        plain = len(node.generators) == 1 and not node.generators[0].ifs and not node.generators[0].is_async
        plain = plain and not any(isinstance(each, ast.NamedExpr | ast.Await) for each in ast.walk(node))
        if plain and isinstance(node, ast.ListComp) and isinstance(node.elt, ast.Constant) and self._is_range(node):
            # As many times the same as there are steps: `[None] * n`.
            one, items = ast.List([node.elt], ast.Load()), node.generators[0].iter
            count = ast.Call(ast.Name("len", ast.Load()), [items], [])
            product = ast.BinOp(one, ast.Mult(), count)
            for each in (one, count.func, count, product):
                ast.copy_location(each, node)
            repeated: ast.expr = self.visit(product)
            return repeated
        self.generic_visit(node)
        if not plain:
            return node
        items = node.generators[0].iter
        node.generators[0].iter = ast.copy_location(ast.Name("__rnnserve_items", ast.Load()), node)
        arguments = ast.arguments(
            posonlyargs=[], args=[ast.arg("__rnnserve_items")], kwonlyargs=[], kw_defaults=[], defaults=[]
        )
        of = ast.copy_location(ast.Lambda(arguments, node), node)
        place = (ast.Constant(self.rewriter.file), ast.Constant(node.lineno))
        return self.rewriter.call("comprehension", items, of, *place)

    def visit_Lambda(self, node: ast.Lambda) -> ast.expr:
        node.body = self.visit(node.body)
        return node
