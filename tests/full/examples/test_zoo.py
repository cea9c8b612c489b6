"""The zoo: two of its modules are published here (`make zoo` publishes all), and the table in the docs has each."""

import re
import runpy
import sys

import pytest

from kit.paths import ROOT

ZOO = ROOT / "examples" / "zoo"
PAGE = ROOT / "docs" / "reference" / "compatibility.md"
FILES = sorted(path.stem for path in ZOO.glob("[a-z]*.py"))


@pytest.fixture(scope="module")
def documented():
    """Rows of the table in docs/reference/compatibility.md, by module, each without its distance."""
    rows = re.findall(r"^\| (.+) \| `(\w+)` \| (.+) \| .+ \|$", PAGE.read_text(), re.MULTILINE)
    return {module: (like, *rest.split(" | ")) for like, module, rest in rows if module in FILES}


def test_documents_have_a_row_for_each_module(documented):
    assert sorted(documented) == FILES


def test_modules_are_published_as_documented(documented, monkeypatch):
    """One that was exported by another exporter, and one with the rules of lengths."""
    names = ["crf_tagger", "vad"]
    monkeypatch.setattr(sys, "argv", ["zoo"])
    table = runpy.run_path(str(ZOO / "__main__.py"))["table"](names)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    assert {module.strip("`"): (like, *rest[:-1]) for like, module, *rest in rows} == {
        name: documented[name] for name in names
    }
    assert [row[-1] for row in rows] == ["equal", "a file alone"]
