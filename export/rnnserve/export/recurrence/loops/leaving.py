"""A body that leaves its loop: `break` and `return`, which a captured loop refuses before they run."""

import ast

__all__ = ["Leaving"]


class Leaving(ast.NodeTransformer):
    """Lets a body say that it leaves the loop, before it does.

    Args:
        loop: Name of the variable that holds the captured loop.
    """

    def __init__(self, loop: str) -> None:
        self.loop, self.depth = loop, 0

    def changed(self, statements: list[ast.stmt]) -> list[ast.stmt]:
        """Change the statements of a body."""
        return [self.visit(statement) for statement in statements]

    def visit_For(self, node: ast.For | ast.While) -> ast.stmt:
        """Change a statement, or leave it as it is."""
        self.depth += 1
        self.generic_visit(node)
        self.depth -= 1
        return node

    visit_While = visit_For  # noqa: N815

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.stmt:
        """Change a statement, or leave it as it is."""
        return node

    def visit_Break(self, node: ast.Break) -> ast.stmt:
        """Change a statement, or leave it as it is."""
        return node if self.depth else self._saying(node, "break")

    def visit_Return(self, node: ast.Return) -> ast.stmt:
        """Change a statement, or leave it as it is."""
        return self._saying(node, "return")

    def _saying(self, node: ast.stmt, how: str) -> ast.stmt:
        said = ast.parse(f"{self.loop}.leaves({how!r}, {node.lineno})").body[0]
        for each in ast.walk(said):
            ast.copy_location(each, node)
        return ast.copy_location(ast.If(ast.copy_location(ast.Constant(True), node), [said, node], []), node)
