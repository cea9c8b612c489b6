"""Publications in users' files and packages: what a target refers to, and the error if it refers to nothing."""

import sys

import pytest

from rnnserve.export.description.targets import load_publications
from rnnserve.export.errors import WrongArguments

FILE = """
from torch import nn

from rnnserve.export import Floats, Publication, UnsupportedModule, WrongArguments


def describe(name):
    return Publication(nn.GRU(2, 3), name, {"input": Floats("sequence", "batch", 2)}, ["output", "h_n"])


one = describe("one")
several = [one, describe("two")]
pair = tuple(several)
empty = []
number = 5
mixed = [one, 5]


def function():
    return describe("of_a_function")


def functions():
    return several


def inner():
    raise ValueError("no")


def outer():
    return inner()


def wrong():
    raise WrongArguments("as it is")


class Kind:
    pass
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_of_a_test.py").write_text(FILE)
    yield tmp_path / "mine_of_a_test.py"
    sys.modules.pop("mine_of_a_test", None)


@pytest.mark.parametrize("source", ["mine_of_a_test.py", "mine_of_a_test"])
def test_target_loads_its_publications(mine, source):
    for name, names in {
        "one": ["one"],
        "several": ["one", "two"],
        "pair": ["one", "two"],
        "function": ["of_a_function"],
        "functions": ["one", "two"],
    }.items():
        found = load_publications(f"{source}:{name}")
        assert isinstance(found, list)
        assert [publication.name for publication in found] == names


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("mine_of_a_test.py", "^mine_of_a_test.py: the object's name is missing; write mine_of_a_test.py:NAME$"),
        ("mine_of_a_test.py:", "the object's name is missing; write mine_of_a_test.py:NAME$"),
        (":one", "the object's name is missing; write :one:NAME$"),
        ("nowhere.py:one", "^there is no file nowhere.py$"),
        ("mine_of_a_test.py:three", '^mine_of_a_test.py has no "three"; it has one, pair, several$'),
        ("mine_of_a_test:three", '^mine_of_a_test has no "three"; it has one, pair, several$'),
        ("mine_of_a_test.py:empty", "is an empty list; expected at least one Publication$"),
        ("mine_of_a_test.py:number", "is a int; expected a Publication, a list of them, or a function"),
        ("mine_of_a_test.py:mixed", "is a list; expected a Publication"),
        ("mine_of_a_test.py:Kind", "is a type; expected a Publication"),
        ("mine_of_a_test.py:wrong", "^as it is$"),
    ],
)
def test_target_without_a_publication_is_refused(mine, target, message):
    with pytest.raises(WrongArguments, match=message):
        load_publications(target)


def test_innermost_line_of_an_error_is_named(mine):
    line = next(number for number, text in enumerate(FILE.splitlines(), 1) if "raise ValueError" in text)
    with pytest.raises(WrongArguments, match=rf"outer: ValueError: no \(line {line} of {mine}\)$"):
        load_publications("mine_of_a_test.py:outer")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("one = (", "'(' was never closed (line 1 of"),
        ("\nraise ValueError('two\\nlines')", "ValueError: two lines (line 2 of"),
        ("import sys\nsys.exit(0)", "SystemExit: 0 (line 2 of"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module' (line 1 of"),
    ],
)
def test_file_that_cannot_be_imported_is_named_in_one_line(tmp_path, text, message):
    path = tmp_path / "broken_of_a_test.py"
    path.write_text(text)
    with pytest.raises(WrongArguments) as refused:
        load_publications(f"{path}:one")
    assert str(refused.value).startswith(f"{path}: {message} {path}")
    assert "\n" not in str(refused.value)
