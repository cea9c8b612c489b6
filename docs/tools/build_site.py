"""Build the documentation as a site: `python docs/tools/build_site.py`, and `--serve` to read it on 127.0.0.1.

The pages in docs/ are plain Markdown with links that work in a clone. This program copies them and two pages of the
root into a folder, and points the links at the copies. Links to files outside the site, such as sources, become
their paths. zensical.toml has the navigation. A link or an anchor that leads nowhere ends the build.

The site also has each page's Markdown, and llms.txt with a list of the pages, for programs.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "zensical.toml"
STAGE = ROOT / ".docs"
SITE = ROOT / "site"

OF_ROOT = {
    "docs/README.md": "index.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
"""Pages of the site outside docs/, and the home page, by their path in the repository."""

SHIM_FROM, SHIM = "https://unpkg.com/iframe-worker/shim", "iframe-worker-shim.js"
"""The package iframe-worker 1.0.4 of npm (MIT, Martin Donath), as zensical fetches it: a copy lies beside this file."""

_FETCHED = re.compile(r'<(?:script|link|img|iframe)\b[^>]*(?:src|href)="(?:https?:)?//')
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^()\s]+)\)")
_FENCE = re.compile(r"^(?P<fence>`{3,}|~{3,}).*?^(?P=fence)\s*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]+`")


def pages() -> dict[str, str]:
    """Each page's path in the repository, and its path in the site."""
    found = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/**/*.md")}
    return {path: OF_ROOT.get(path, path.removeprefix("docs/")) for path in sorted(found | set(OF_ROOT))}


def turned(text: str, page: str, places: dict[str, str]) -> str:
    """A page's text with its links turned to where their targets are in the site.

    Args:
        text: The page.
        page: Its path in the repository.
        places: Paths in the site by those in the repository.
    """
    here = PurePosixPath(places[page]).parent

    def turn(match: re.Match[str]) -> str:
        target, _, anchor = match["target"].partition("#")
        if not target or re.match(r"[a-z][a-z0-9+.-]*:", target):
            return match[0]
        path = os.path.normpath(PurePosixPath(page).parent / target)
        if path in places or match["image"]:
            place = places.get(path, path.removeprefix("docs/"))
            to = os.path.relpath(place, here) + (f"#{anchor}" if anchor else "")
            return f"{match['image']}[{match['text']}]({to})"
        if not (ROOT / path).exists():
            raise SystemExit(f"{page}: the target of the link {match['target']} does not exist")
        said = match["text"]
        return said if path in said else f"{said} (`{path}`)"

    return "".join(_LINK.sub(turn, part) if is_prose else part for is_prose, part in _parts(text))


def _parts(text: str) -> Iterator[tuple[bool, str]]:
    """The parts of a page, each with whether it is prose: neither a block of code nor code in a line."""
    at = 0
    for fence in _FENCE.finditer(text):
        yield from _of_lines(text[at : fence.start()])
        yield False, fence[0]
        at = fence.end()
    yield from _of_lines(text[at:])


def _of_lines(text: str) -> Iterator[tuple[bool, str]]:
    # A link's text may be code: the link as a whole is turned, so only code outside of links is kept apart.
    at = 0
    for code in _CODE.finditer(text):
        if text[: code.start()].endswith("[") or re.match(r"[^\[\]\n]*\]\(", text[code.end() :]):
            continue
        yield True, text[at : code.start()]
        yield False, code[0]
        at = code.end()
    yield True, text[at:]


def stage() -> None:
    """Copy the pages and their pictures to where zensical reads them."""
    shutil.rmtree(STAGE, ignore_errors=True)
    places = pages()
    for page, place in places.items():
        to = STAGE / place
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_text(turned((ROOT / page).read_text(encoding="utf-8"), page, places), encoding="utf-8")
    shutil.copytree(ROOT / "docs" / "images", STAGE / "images")


def keep_to_itself() -> None:
    """Have the pages fetch nothing from elsewhere: the script that lets a page on a disk search lies beside them."""
    shutil.copy(Path(__file__).with_name(SHIM), SITE / "assets" / "javascripts" / SHIM)
    for page in SITE.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        to = os.path.relpath(SITE / "assets" / "javascripts" / SHIM, page.parent)
        text = text.replace(SHIM_FROM, to)
        if _FETCHED.search(text):
            raise SystemExit(f"{page.relative_to(SITE)} fetches a file from another site")
        page.write_text(text, encoding="utf-8")


def title(text: str) -> str:
    """The heading of a page."""
    return re.sub(r"[`*]", "", text.split("\n", 1)[0].lstrip("# "))


def summary(text: str) -> str:
    """The first sentence after the heading."""
    paragraphs = [
        part for part in _FENCE.sub("", text).split("\n\n")[1:] if part.strip() and part.lstrip()[0] not in "#|<!"
    ]
    first = " ".join(paragraphs[0].split()) if paragraphs else ""
    return re.split(r"(?<=[.:])\s", _LINK.sub(lambda match: match["text"], first))[0].rstrip(":")


def navigation() -> dict[str, list[str]]:
    """The pages of each section, in order."""
    sections: dict[str, list[str]] = {}
    for entry in tomllib.loads(CONFIG.read_text(encoding="utf-8"))["project"]["nav"]:
        ((name, within),) = entry.items()
        sections[name] = [within] if isinstance(within, str) else [page for one in within for page in one.values()]
    return sections


def write_for_programs() -> None:
    """Write each page's Markdown beside it, llms.txt with a line for each page, and llms-full.txt with all of them."""
    lines, whole = ["# rnnserve", "", f"> {summary((STAGE / 'index.md').read_text(encoding='utf-8'))}"], []
    for section, listed in navigation().items():
        lines += ["", f"## {section}", ""]
        for page in listed:
            text = (STAGE / page).read_text(encoding="utf-8")
            (SITE / page).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(STAGE / page, SITE / page)
            lines.append(f"- [{title(text)}]({page}): {summary(text)}")
            whole.append(text)
    (SITE / "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (SITE / "llms-full.txt").write_text("\n\n".join(whole), encoding="utf-8")


def main() -> int:
    """Build the site; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", action="store_true", help="then serve the site on 127.0.0.1, until Ctrl-C")
    parser.add_argument("--port", type=int, default=8080, help="port to serve it on (default: %(default)s)")
    args = parser.parse_args()
    stage()
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict", "--config-file", str(CONFIG)]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:  # noqa: S603 - our own words
        print("the documentation has mistakes: see above", file=sys.stderr)
        return 1
    keep_to_itself()
    write_for_programs()
    print(f"the site is in {SITE}: open index.html, or run `make docs-serve`")
    if args.serve:
        server = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(SITE), str(args.port)]
        try:
            return subprocess.run(server, check=False).returncode  # noqa: S603 - our own words
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
