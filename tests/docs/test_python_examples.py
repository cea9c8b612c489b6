"""Run every Python block of README.md and docs/.

A block runs by itself, unless its first line says that it goes on from the block above. A block of the language `text`
right after a Python block is what that block prints. A block that is a file of a how-to runs with the commands of the
page: `test_pages.py`.
"""

import dataclasses
import itertools
import linecache
import re
from pathlib import Path

import pytest
from sybil import Document, Example
from sybil.parsers.markdown import CodeBlockParser

from kit.paths import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
ADDRESS = "127.0.0.1:8001"  # where the documentation's server listens
GOES_ON = "# goes on from the block above"
A_FILE = re.compile(r"# [\w-]+\.py\n")


@dataclasses.dataclass(frozen=True)
class Block:
    """A Python block of a document: the line of its fence, its source, and what it says that it prints, if it does."""

    line: int
    source: str
    output: str | None


def not_evaluated(example: Example) -> None:
    raise NotImplementedError(example)


def python_blocks(path: Path) -> list[Block]:
    parsers = [CodeBlockParser(language, not_evaluated) for language in ("python", "text")]
    document = Document.parse(str(path), *parsers)
    fenced = list(document.examples())
    found = []
    for block, after in itertools.pairwise([*fenced, None]):
        if document.text.startswith("```python", block.start) and not A_FILE.match(block.parsed):
            is_output = after is not None and not document.text[block.end : after.start].strip("`\n")
            found.append(Block(block.line, block.parsed, after.parsed if is_output else None))
    return found


def examples(path: Path) -> list[list[Block]]:
    """The blocks of a document that run together, in order."""
    found: list[list[Block]] = []
    for block in python_blocks(path):
        if found and block.source.startswith(GOES_ON):
            found[-1].append(block)
        else:
            found.append([block])
    return found


ALL = {f"{path.relative_to(ROOT)}:{blocks[0].line}": (path, blocks) for path in DOCUMENTS for blocks in examples(path)}


@pytest.mark.parametrize("name", ALL)
def test_example_runs(name, port, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    path, blocks = ALL[name]
    names = {"__name__": "__main__"}
    for block in blocks:
        capsys.readouterr()
        source = "\n" * block.line + block.source.replace(ADDRESS, f"127.0.0.1:{port}")
        file = f"<{path}:{block.line}>"
        # As in a notebook: publishing reads the source of a loop over steps.
        monkeypatch.setitem(linecache.cache, file, (len(source), None, source.splitlines(keepends=True), file))
        exec(compile(source, file, "exec"), names)
        if block.output is not None:
            assert capsys.readouterr().out == block.output


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_python_block_is_an_example(path):
    """A block whose fence is indented, or says more than `python`, would not be run."""
    fences = re.findall(r"^[ >\t]*(?:`{3,}|~{3,})[ \t]*(?:python|py)\b.*$", path.read_text(), re.MULTILINE)
    assert [fence for fence in fences if fence != "```python"] == []


def test_the_readme_prints_an_answer():
    assert any(block.output for _, blocks in ALL.values() for block in blocks)


# What the checks can see, on a text with faults.

PLANTED = f"""\
```python
a = 1
print(a)
```

```text
1
```
```python
{GOES_ON}
print(a + 1)
```
Prose.
```text
not its output
```
```
print("no Python")
```
```python
a
```
```python
# name.py
with_a_server()
```
"""


def test_blocks_are_found(tmp_path):
    (tmp_path / "planted.md").write_text(PLANTED)
    first, second = examples(tmp_path / "planted.md")
    assert [(block.line, block.output) for block in first] == [(1, "1\n"), (9, None)]
    assert [block.source for block in second] == ["a\n"]
