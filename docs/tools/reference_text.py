"""What the pages of docs/reference/ are made of: tables, and what the sources say of their names."""

import ast
import itertools
import re
from collections.abc import Iterator, Sequence

__all__ = ["cell", "first_sentence", "said_of_names", "table"]


def cell(text: str) -> str:
    """A text as a cell of a table."""
    return text.replace("|", "\\|").replace("%%", "%").replace("\n", " ").replace("<", "&lt;")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table, with an empty one after it; its cells are written as they are."""
    yield f"| {' | '.join(heads)} |"
    yield f"|{' --- |' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def first_sentence(text: str) -> str:
    """The first sentence of a docstring, on one line."""
    return re.split(r"(?<=\w[.:]|[)`\"][.:])\s", " ".join(text.split()), maxsplit=1)[0].rstrip(".:")


def said_of_names(source: str, within: str = "") -> dict[tuple[str, ...], str]:
    """What the docstrings of names say: of a module, or of a class in it; names that are assigned together are one key.

    Args:
        source: Text of the module.
        within: Name of the class; empty for the module itself.
    """
    body: list[ast.stmt] = ast.parse(source).body
    if within:
        body = next(node.body for node in body if isinstance(node, ast.ClassDef) and node.name == within)
    found = {}
    for node, after in itertools.pairwise(body):
        said = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else None
        if isinstance(said, str) and isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            names = target.elts if isinstance(target, ast.Tuple) else [target]
            found[tuple(ast.unparse(name) for name in names)] = said
    return found
