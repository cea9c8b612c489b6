"""Links, headings, pages and paths that documents and sources name exist."""

import re
from pathlib import Path

from kit.paths import ROOT

AREAS = {path.parent.name for path in ROOT.glob("*/rnnserve")} | {"benchmarks", "deploy", "docs", "examples", "tests"}
SUFFIXES = {".py", ".md", ".proto", ".js", ".css", ".html", ".toml", ".yaml", ".yml", ".json", ".service"}
IGNORED = {"__pycache__", "results", ".coverage", "repository", "checkpoints"}
# Written in parts, so that this file does not contain them.
OUTSIDE = re.compile(
    r"(?<![\w.-])/(?:wor" + r"k|tmp/w" + r"t)\b"  # a folder of one machine
    r"|(?<![\w/-])share" + r"d/|\b(?:FINDING" + r"S|DESIG" + r"N|STYL" + r"E)\.md\b"  # beside the repository
    r"|\bFINDING" + r"S\b|\bDESIG" + r"N\b|farm-stu" + r"dio"
    r"|(?i:pythonhost" + r"ed|pypi\." + r"org|index[-_]u" + r"rl|find-lin" + r"ks)"  # a package registry
)


def texts():
    """Every document and source, by its path from the root."""
    paths = [path for area in AREAS for path in (ROOT / area).rglob("*") if path.suffix in SUFFIXES]
    found = [path for path in ROOT.iterdir() if path.suffix in SUFFIXES or path.name == "Makefile"]
    found += [*(ROOT / ".github").rglob("*.yml"), *paths]
    files = {path.relative_to(ROOT).as_posix(): path for path in found if path.is_file() and path != Path(__file__)}
    return {name: path.read_text() for name, path in files.items() if not IGNORED & {*path.parts}}


def without_code(text):
    return re.sub(r"^(```+|~~~+).*?^\1[ \t]*$", "", text, flags=re.MULTILINE | re.DOTALL)


def headings(text):
    return re.findall(r"^#{1,6}[ \t]+(.+?)[ \t]*#*$", without_code(text), re.MULTILINE)


def anchors(text):
    """Names by which links reach the headings of a document, as GitHub makes them."""
    found = set()
    for heading in headings(text):
        title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        found.add(next(each for each in (name, *(f"{name}-{count}" for count in range(1, 99))) if each not in found))
    return found


def broken_links(document, text):
    """Links of a document to a file or a heading that doesn't exist."""
    prose = re.sub(r"`[^`\n]*`", "code", without_code(text))
    targets = re.findall(r"\]\(([^)\s]+)\)", prose) + re.findall(r"^\[[^\]]+\]:[ \t]+(\S+)", prose, re.MULTILINE)
    for link in targets:
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        if re.match(r"[a-z]+:", link):
            continue
        if not target.exists() or (anchor and anchor not in anchors(text if not name else target.read_text())):
            yield link


def missing_paths(text):
    """Paths in backticks into an area that don't exist. Into sources they may begin at the area: `server/app.py`."""
    for area, rest in re.findall(rf"`({'|'.join(AREAS)})/([\w./*-]*)`", without_code(text)):
        is_generated = rest.startswith("results")
        if not (any(ROOT.glob(f"{area}/{rest}")) or any(ROOT.glob(f"{area}/rnnserve/{area}/{rest}")) or is_generated):
            yield f"{area}/{rest}"


def missing_pages(text):
    """Pages of the documentation that a source names, with a heading or without, and that don't exist."""
    for page, anchor in re.findall(r"(?<![\w/])(docs/[\w./-]+\.md)(?:#([\w-]+))?", text.replace("\\.", ".")):
        if not (ROOT / page).is_file() or (anchor and anchor not in anchors((ROOT / page).read_text())):
            yield f"{page}#{anchor}" if anchor else page


def test_references_resolve():
    found = texts()
    assert {"README.md", "docs/README.md", "server/rnnserve/server/__init__.py"} <= found.keys()
    broken = {}
    for name, text in found.items():
        if name.endswith(".md"):
            broken[name] = [*broken_links(ROOT / name, text), *missing_paths(text)]
        else:
            broken[name] = [*missing_pages(text)]
        broken[name] += [match[0] for match in OUTSIDE.finditer(text)]
    assert {name: wrong for name, wrong in broken.items() if wrong} == {}


def test_broken_references_are_found():
    planted = (
        "# A `b`: *c*\n## Twice\n## Twice\n```\n[x](no.md)\n```\n[a](#twice-1) `[b](no.md)` [c](https://d.example)\n"
    )
    document = ROOT / "docs" / "README.md"
    assert list(broken_links(document, planted + "[e](../README.md#quick-start)\n\n[f]: ../LICENSE\n")) == []
    for link in ("no.md", "no.md#a", "#twice-2", "../README.md#no-heading"):
        assert list(broken_links(document, f"{planted}[a]({link})")) == [link]
    assert list(missing_paths("`docs/install.md`, `docs/no.md`, `docs/*.md`, `server/no.py`, `cli`")) == [
        "docs/no.md",
        "server/no.py",
    ]
    named = "docs/install.md, docs/operate/run.md#stop (docs/no.md), docs/install.md#nothing"
    assert list(missing_pages(named)) == ["docs/no.md", "docs/install.md#nothing"]
    for text in ("see /wor" + "k/main", "in share" + "d/x", "STYL" + "E.md", "https://pypi." + "org/simple"):
        assert OUTSIDE.search(text)
    assert not OUTSIDE.search(".github/workflows, the/work, framework, docs/install.md")
