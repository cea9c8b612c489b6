"""equivalents.toml names lines that are in the tree, each with a reason."""

from pathlib import Path

import pytest

from mutation.equivalents import read_equivalents

ROOT = Path(__file__).parents[2]


def test_each_names_a_line_of_its_file_and_says_why():
    for (file, _, line, becomes), reason in read_equivalents().items():
        assert line in map(str.strip, (ROOT / file).read_text().splitlines()), f"{file} has no line {line!r}"
        assert line != becomes
        assert reason


def test_an_entry_is_found_by_its_key(tmp_path):
    entry = '[[equivalent]]\nfile = "a.py"\noperator = "core/AddNot"\nline = "if x:"\nbecomes = "if not x:"\n'
    (tmp_path / "some.toml").write_text(entry + 'reason = "why"\n')
    assert read_equivalents(tmp_path / "some.toml") == {("a.py", "core/AddNot", "if x:", "if not x:"): "why"}
    (tmp_path / "some.toml").write_text(entry)
    with pytest.raises(KeyError):
        read_equivalents(tmp_path / "some.toml")
