"""Words that docs/style.md bans are in no docstring and no comment: threads, requests and modules are no people."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
AREAS = ("cli", "client", "cluster", "common", "export", "load", "models", "protos", "server", "web")
BANNED = re.compile(r"\b(hears?|heard|knows|remembers?|forgets?|nobody)\b", re.IGNORECASE)


def sources() -> list[Path]:
    found = [path for area in AREAS for path in sorted((ROOT / area).rglob("*.py"))]
    return [path for path in found if not path.stem.endswith(("_pb2", "_pb2_grpc"))]


def prose(source: str) -> Iterator[tuple[int, str]]:
    """The docstrings, also those of names, and the comments of a module, each with its line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def without_code(text: str) -> str:
    """A text without the names that attributes have, and without what is in backticks."""
    return re.sub(r"`[^`]*`|^ +\w+: ", "", text, flags=re.MULTILINE)


def banned(source: str) -> list[str]:
    return [f"line {line}: {found[0]}" for line, text in prose(source) for found in BANNED.finditer(without_code(text))]


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_modules_and_threads_are_no_people(path):
    assert banned(path.read_text(encoding="utf-8")) == []


def test_what_is_banned_is_found():
    source = '"""A thread hears of it.\n\n    heard: When."""\nx = 1  # nobody knows\n"""`forget` is a name."""\n'
    assert banned(source) == ["line 1: hears", "line 4: nobody", "line 4: knows"]
    assert sources()
