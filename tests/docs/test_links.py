"""What documents and sources refer to is there: links, headings, cited findings and paths.

And nothing refers to what is beside the repository instead of in it.
"""

import fnmatch
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kit.paths import ROOT

AREAS = (
    "benchmarks",
    "cli",
    "client",
    "common",
    "docs",
    "examples",
    "export",
    "load",
    "models",
    "protos",
    "server",
    "tests",
)
"""The folders whose files are checked, and into which paths in documents are checked."""

CITED_PAGE = "docs/lab/findings.md"

# Written in parts, so that this file does not contain them.
OUTSIDE = {
    "a folder of one machine": re.compile(r"(?<![\w.-])/(?:wor" + r"k|tmp/w" + r"t)\b"),
    "a folder beside the repository": re.compile(r"(?<![\w/-])share" + r"d/"),
    "a text beside the repository": re.compile(
        r"\b(?:FINDING" + r"S|DESIG" + r"N|STYL" + r"E)\.md\b|\bFINDING" + r"S\b|\bDESIG" + r"N\b"
    ),
    "the name of a session": re.compile(r"farm-stu" + r"dio"),
    "the host of a package registry": re.compile(
        r"pythonhost" + r"ed|pypi\." + r"org|index[-_]u" + r"rl|find-lin" + r"ks", re.IGNORECASE
    ),
}


def ignored(path: str, patterns: list[str]) -> bool:
    """Tell whether one of the patterns of .gitignore matches a path, relative to the root."""
    name = path.rsplit("/", 1)[-1]
    return any(
        path == pattern.strip("/") if pattern.startswith("/") else fnmatch.fnmatch(name, pattern.rstrip("/"))
        for pattern in patterns
    )


IGNORED = [".git", *(ROOT / ".gitignore").read_text(encoding="utf-8").split()]


def files(folder: Path) -> Iterator[Path]:
    """Every text file in a folder that git would keep."""
    for path in sorted(folder.iterdir()):
        if ignored(relative(path), IGNORED):
            continue
        if path.is_dir():
            yield from files(path)
        elif is_text(path.read_bytes()):
            yield path


def is_text(data: bytes) -> bool:
    """Tell text from archives and from the corpus of the fuzz targets."""
    try:
        return "\0" not in data.decode()
    except UnicodeDecodeError:
        return False


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def without_code(text: str) -> str:
    """Markdown without its fenced blocks."""
    return re.sub(r"^(```+|~~~+).*?^\1[ \t]*$", "", text, flags=re.MULTILINE | re.DOTALL)


def headings(text: str) -> list[str]:
    """Titles of a Markdown document's headings, as they are written, in order."""
    return re.findall(r"^#{1,6}[ \t]+(.+?)[ \t]*#*$", without_code(text), re.MULTILINE)


def anchors(text: str) -> set[str]:
    """Names by which links reach the headings of a Markdown document, as GitHub makes them."""
    found: set[str] = set()
    for heading in headings(text):
        title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        number = 0
        while (anchor := f"{name}-{number}" if number else name) in found:
            number += 1
        found.add(anchor)
    return found


def links(text: str) -> list[str]:
    """Targets of the links in a Markdown document that lead into the repository."""
    prose = re.sub(r"`[^`\n]*`", "code", without_code(text))
    targets = re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r"^\[[^\]]+\]:[ \t]+(\S+)", prose, re.MULTILINE)
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def broken_links(document: Path, text: str) -> list[str]:
    """Links of a document to a file or a heading that is not there."""
    broken = []
    for link in links(text):
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        if not target.exists():
            broken.append(f"{link}: there is no such file")
        elif anchor and anchor not in anchors(text if target == document else target.read_text(encoding="utf-8")):
            broken.append(f"{link}: {target.name} has no such heading")
    return broken


def broken_citations(text: str, titles: list[str]) -> list[str]:
    """Citations of the findings in a source that name no heading, or one that is not there."""
    joined = re.sub(r"[ \t]*\n[ \t]*(?:#|//|\*)?[ \t]*", " ", text)  # a citation may go on in the next line
    broken = []
    for cited in re.findall(re.escape(CITED_PAGE) + r'((?:(?:,| and)? \\?"[^"]*")*)', joined):
        named = re.findall(r'"([^"\\]*)\\?"', cited)
        broken += [f'"{title}" is no heading of {CITED_PAGE}' for title in named if title not in titles]
        if not named:
            broken.append(f"{CITED_PAGE} is cited without a heading")
    return broken


def missing_paths(text: str, exists: Callable[[str], bool]) -> list[str]:
    """Paths in backticks that look like paths in the repository and are not there."""
    words = re.findall(r"`([^`\s]+)`", without_code(text))
    paths = [word for word in words if re.fullmatch(rf"(?:{'|'.join(AREAS)})/[\w./*-]*", word)]
    return [path for path in paths if not ignored(path.rstrip("/"), IGNORED) and not exists(path)]


def is_in_repository(path: str) -> bool:
    """Tell whether there is such a path; into sources it may begin at the area: `server/app.py`."""
    area, _, rest = path.rstrip("/").partition("/")
    return any(ROOT.glob(f"{area}/{rest}")) or any(ROOT.glob(f"{area}/rnnserve/{area}/{rest}"))


def named_outside(text: str, patterns: dict[str, re.Pattern[str]]) -> list[str]:
    """What a text names that is not in the repository."""
    return [f"{what}: {found[0]}" for what, pattern in patterns.items() for found in pattern.finditer(text)]


DOCUMENTS = [path for path in files(ROOT) if path.suffix == ".md"]
SOURCES = [path for area in AREAS for path in files(ROOT / area) if path.suffix != ".md" and path != Path(__file__)]
ALL = [path for path in files(ROOT) if path.parent == ROOT or re.match(rf"\.|(?:{'|'.join(AREAS)})/", relative(path))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_links_lead_to_files_and_headings(document: Path) -> None:
    assert broken_links(document, document.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_paths_in_documents_are_there(document: Path) -> None:
    assert missing_paths(document.read_text(encoding="utf-8"), is_in_repository) == []


def test_sources_cite_findings_by_their_headings() -> None:
    titles = headings((ROOT / CITED_PAGE).read_text(encoding="utf-8"))
    broken = {relative(path): broken_citations(path.read_text(encoding="utf-8"), titles) for path in SOURCES}
    assert {path: found for path, found in broken.items() if found} == {}


def test_nothing_names_what_is_not_in_the_repository() -> None:
    named = {relative(path): named_outside(path.read_text(encoding="utf-8"), OUTSIDE) for path in ALL}
    assert {path: found for path, found in named.items() if found} == {}


def test_documents_are_found() -> None:
    """The checks above would pass if they looked at nothing."""
    assert {"README.md", "CHANGELOG.md", "docs/README.md", CITED_PAGE} <= set(map(relative, DOCUMENTS))
    assert {path.split("/")[0] for path in map(relative, SOURCES)} == set(AREAS)
    assert "tests/docs/test_links.py" in map(relative, ALL)
    assert not any(
        ignored(relative(folder), IGNORED) for path in ALL for folder in path.parents if folder.is_relative_to(ROOT)
    )


# What the checks can see, on texts with faults.

PLANTED = """\
# A title

## `code` and [a link](README.md): *two*

## Twice
## Twice

```
# not a heading
[not a link](nowhere.md)
```
[here](#twice-1) and `[code](nowhere.md)` and [out](https://example.org/nowhere.md)

[reference]: ../LICENSE
"""


def test_headings_outside_code_are_found() -> None:
    assert headings(PLANTED) == ["A title", "`code` and [a link](README.md): *two*", "Twice", "Twice"]
    assert anchors(PLANTED) == {"a-title", "code-and-a-link-two", "twice", "twice-1"}


def test_links_outside_code_are_found() -> None:
    assert links(PLANTED) == ["README.md", "#twice-1", "../LICENSE"]


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        (PLANTED, []),
        ("[a](nowhere.md)", ["nowhere.md: there is no such file"]),
        ("[a](nowhere.md#title)", ["nowhere.md#title: there is no such file"]),
        ("# Title\n[a](#titles)", ["#titles: README.md has no such heading"]),
        ("[a](../README.md#quick-start)", []),
        ("[a](../README.md#no-heading)", ["../README.md#no-heading: README.md has no such heading"]),
        ("[a]: ../nowhere", ["../nowhere: there is no such file"]),
    ],
)
def test_broken_links_are_found(text: str, broken: list[str]) -> None:
    assert broken_links(ROOT / "docs" / "README.md", text) == broken


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        (f'"""Why (measured: {CITED_PAGE}, "Even rows")."""', []),
        (f'# Why: {CITED_PAGE}, "Even\n    # rows".', []),
        (f'Why ({CITED_PAGE},\n"Even rows" and "The lane").', []),
        (f'{{"why": "{CITED_PAGE}, \\"Even rows\\""}}', []),
        (f'Why ({CITED_PAGE}, "Odd rows").', [f'"Odd rows" is no heading of {CITED_PAGE}']),
        (f'Why ({CITED_PAGE}, "Even rows", "Odd\nrows").', [f'"Odd rows" is no heading of {CITED_PAGE}']),
        (f"Why ({CITED_PAGE}).", [f"{CITED_PAGE} is cited without a heading"]),
    ],
)
def test_broken_citations_are_found(text: str, broken: list[str]) -> None:
    assert broken_citations(text, ["Even rows", "The lane"]) == broken


def test_missing_paths_are_found() -> None:
    text = "`docs/style.md`, `docs/no.md`, `benchmarks/results/`, `docs/*.md`, `docs/*.no`, `cli`, `a b`, `tests/x…`"
    assert missing_paths(text, is_in_repository) == ["docs/no.md", "docs/*.no"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see /wor" + "k/main", 1),
        (".github/workflows, the/work, framework", 0),
        ("in share" + "d/x, and in ../share" + "d/x", 1),
        ("DESIG" + "N.md and STYL" + "E.md", 2),
        ("(FINDING" + 'S, "onnxruntime"), as far as DESIG' + "N says", 2),
        ("design.md, docs/style.md", 0),
        ("--index-u" + "rl https://pypi." + "org/simple", 2),
        ("https://example.org/rnnserve/rnnserve", 0),
    ],
)
def test_names_from_outside_are_found(text: str, found: int) -> None:
    assert len(named_outside(text, OUTSIDE)) == found


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a/.venv", True),
        ("x/__pycache__", True),
        ("checkpoints", True),
        ("tests/checkpoints", False),
        ("README.md", False),
    ],
)
def test_ignored_files_are_told_from_others(path: str, expected: bool) -> None:
    assert ignored(path, IGNORED) == expected
