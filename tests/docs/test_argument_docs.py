"""Argument docs begin with a noun: "Seconds between scans of the folder", not "Of it" or "How long it waits"."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
AREAS = ("benchmarks", "cli", "client", "cluster", "common", "export", "load", "models", "protos", "server", "web")
PREPOSITIONS = "After As At Before By For From In Of On Since Than To Until With Without"
PRONOUNS = "He Her His How It Its She That Their Them These They Those What When Where Which Who Whom Whose Why"
VERBS = """
Adds Begins Called Chooses Does Draws Gets Gives Has Is Keeps Lets Makes Puts Raises Returns Says Sends Takes Tells Told
Tries Writes Add Call Give Keep Let Load Make Put Raise Return Say See Send Serve Take Tell Try Use Wait Write
"""
NO_NOUNS = {*PREPOSITIONS.split(), *PRONOUNS.split(), *VERBS.split()}
VERB = re.compile(
    r"\w+s (an?|all|each|how|its?|no|the|their|what|whether)\b"
)  # "Answers a message", not "Answers of it"
WHOSE = re.compile(r"((The|An?) )?\w+('s|s')([.,;:]| as |$)")  # "The model's.", which leaves the noun out


class Entry(NamedTuple):
    """What a docstring says of one argument: its name, and the first line of its text."""

    name: str
    text: str


def sources() -> list[Path]:
    found = [path for area in AREAS for path in sorted((ROOT / area).rglob("*.py"))]
    return [path for path in found if not path.stem.endswith(("_pb2", "_pb2_grpc"))]


def entries(source: str) -> Iterator[Entry]:
    """The entries of all sections `Args:` of a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            section = re.search(r"^Args:\n((?: .*\n?|\n)*)", ast.get_docstring(node) or "", re.MULTILINE)
            yield from (
                Entry(*found)
                for found in re.findall(r"^ {4}(\S.*?): (.*)$", section[1] if section else "", re.MULTILINE)
            )


def begins_with_a_noun(text: str) -> bool:
    word = re.match(r"\W*(\w*)", text)[1]
    return word not in NO_NOUNS and not (VERB.match(text) or WHOSE.match(text) or text.startswith("The same"))


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_argument_docs_begin_with_a_noun(path):
    assert [entry for entry in entries(path.read_text(encoding="utf-8")) if not begins_with_a_noun(entry.text)] == []


@pytest.mark.parametrize(
    "text",
    [
        "Of the model.",
        "Its name.",
        "How many may wait.",
        "What serves.",
        "Gives the time in seconds.",
        "Answers a message of another worker.",
        "The model's.",
        "The calls', in order.",
        "The same, of the other.",
    ],
)
def test_what_is_no_noun_is_found(text):
    arguments = f"    Args:\n        a: Seconds.\n        b: {text}\n"
    source = f'def f(a, b):\n    """Do.\n\n{arguments}\n    Raises:\n        E: If it cannot."""\n'
    assert [entry for entry in entries(source) if not begins_with_a_noun(entry.text)] == [("b", text)]


@pytest.mark.parametrize(
    "text", ["Seconds between scans.", "Whether it waits.", "Calls of the client.", "`None`.", "(batch,) int64."]
)
def test_nouns_pass(text):
    assert begins_with_a_noun(text)
