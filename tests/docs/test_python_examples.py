"""Run every Python block of README.md and docs/, in order; the blocks of one document share their names."""

import re
from pathlib import Path

import pytest
from sybil import Document, Example, Lexeme
from sybil.parsers.markdown import PythonCodeBlockParser

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
ADDRESS = "127.0.0.1:8001"  # where the documentation's server listens


def examples() -> list[Example]:
    found: list[Example] = []
    for path in DOCUMENTS:
        found += Document.parse(str(path), PythonCodeBlockParser()).examples()
    return found


def name(example: Example) -> str:
    return f"{Path(example.path).relative_to(ROOT)}:{example.line}"


@pytest.mark.parametrize("example", examples(), ids=name)
def test_example_runs(example, port, folder, monkeypatch):
    monkeypatch.chdir(folder)
    if isinstance(example.parsed, Lexeme):
        source = example.parsed.replace(ADDRESS, f"127.0.0.1:{port}")
        example.parsed = Lexeme(source, example.parsed.offset, example.parsed.line_offset)
    else:  # one `>>>` of a doctest
        example.parsed.source = example.parsed.source.replace(ADDRESS, f"127.0.0.1:{port}")
    example.evaluate()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_python_block_is_an_example(path):
    """A block whose first line says more than `python` would not be run."""
    fences = re.findall(r"^[ >\t]*(?:`{3,}|~{3,})[ \t]*(?:python|py)\b.*$", path.read_text(), re.MULTILINE)
    assert [fence for fence in fences if not re.fullmatch(r"\s*(`{3,}|~{3,})python", fence)] == []
