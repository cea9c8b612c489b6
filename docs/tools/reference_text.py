"""Tables and paragraphs of Markdown, and what the sources say about their names."""

import ast
import inspect
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["cell", "first_paragraph", "first_sentence", "paragraphs", "said_of_names", "table"]


def cell(text: str) -> str:
    """A text as a cell of a table, or as one line."""
    return text.replace("|", "\\|").replace("%%", "%").replace("\n", " ").replace("<", "&lt;")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table, with an empty line after it. Its cells are written as they are."""
    yield f"| {' | '.join(heads)} |"
    yield f"|{' --- |' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of a help text or docstring. Paragraphs with indented lines become blocks of text."""
    blocks = [block.strip("\n") for block in re.split(r"\n\s*\n", inspect.cleandoc(text)) if block.strip()]
    is_indented = [block.startswith(" ") or "\n " in block for block in blocks]
    for indented, group in itertools.groupby(zip(is_indented, blocks, strict=True), key=lambda one: one[0]):
        if indented:
            yield "```text\n" + "\n\n".join(block for _, block in group) + "\n```\n"
        else:
            yield from (f"{' '.join(block.split()).removesuffix('::').replace('<', '&lt;')}\n" for _, block in group)


def first_sentence(text: str) -> str:
    """The first sentence of a docstring, on one line."""
    return re.split(r"(?<=\w[.:]|[)`\"][.:])\s", " ".join(text.split()), maxsplit=1)[0].rstrip(".:")


def first_paragraph(documented: Any) -> str:  # noqa: ANN401 - anything with a docstring
    """The first paragraph of a docstring, on one line."""
    return " ".join(inspect.cleandoc(documented.__doc__).split("\n\n")[0].split())


def said_of_names(source: str, within: str = "") -> dict[tuple[str, ...], str]:
    """The docstrings of the names of a module, or of a class in it. Names that are assigned together are one key.

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
