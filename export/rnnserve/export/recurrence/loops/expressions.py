"""Rewriting expressions: hooks in the place of Python's functions, lists and comprehensions, which may be of steps."""

import ast
import builtins

from rnnserve.export.recurrence.loops.scope import HOOKS, Scope, hook_call

__all__ = ["Expressions"]

_Comprehension = ast.ListComp | ast.GeneratorExp


class Expressions(ast.NodeTransformer):
    """Puts hooks in the place of Python's functions, lists and comprehensions.

    Args:
        scope: Names of the function that the expressions are in.
    """

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Change an expression, or leave it as it is."""
        # A class that is named, not called, may be for isinstance: `tuple | list`, `kinds = (list, tuple)`.
        is_class = isinstance(getattr(builtins, node.id, None), type)
        return node if is_class or not isinstance(node.ctx, ast.Load) else self._hooked(node)

    def _hooked(self, node: ast.Name) -> ast.expr:
        if not self.scope.is_hooked(node.id):
            return node
        hooked = ast.Attribute(ast.Name(HOOKS, ast.Load()), "HOOKED", ast.Load())
        return ast.copy_location(ast.Subscript(hooked, ast.Constant(node.id), ast.Load()), node)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """Change an expression, or leave it as it is."""
        one = node.args[0] if len(node.args) == 1 else None
        if isinstance(node.func, ast.Name) and node.func.id == "zip" and isinstance(one, ast.Starred):
            if self.scope.is_hooked("zip"):
                return hook_call("unzipped", self._argument(one.value))
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
        """Change an expression, or leave it as it is."""
        self.generic_visit(node)
        return hook_call("made", node) if isinstance(node.ctx, ast.Load) else node

    def visit_ListComp(self, node: ast.ListComp) -> ast.expr:
        """Change an expression, or leave it as it is."""
        return self._comprehension(node)

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> ast.expr:
        """Change an expression, or leave it as it is."""
        return self._comprehension(node)

    def _is_range(self, node: ast.ListComp) -> bool:
        called = node.generators[0].iter
        function = called.func if isinstance(called, ast.Call) else None
        return isinstance(function, ast.Name) and function.id == "range" and self.scope.is_hooked("len")

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
        place = (ast.Constant(self.scope.file), ast.Constant(node.lineno))
        return hook_call("comprehension", items, of, *place)

    def visit_Lambda(self, node: ast.Lambda) -> ast.expr:
        """Change an expression, or leave it as it is."""
        node.body = self.visit(node.body)
        return node
