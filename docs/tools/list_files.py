"""Write docs/files.md: every source file of the product with the first sentence of its docstring, folder by folder.

Of each folder the page has what its door names, too: the paragraph "Door:" in the docstring of its `__init__`.

`python docs/tools/list_files.py` writes the page, and `--check` fails if it differs from what the sources say.
"""

import argparse
import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "files.md"
AREAS = ("models", "export", "protos", "common", "server", "client", "load", "web", "cluster", "cli")

HEAD = """\
# Every file

In which file is …? Paths begin at the area: `server/app.py` is `server/rnnserve/server/app.py`.
[architecture.md](architecture.md) follows a module and a request through them. `make docs` writes this page from the
docstrings. A folder's *door* names what other folders import of it; `__all__` stands for the names of the folder
itself, and all else in it is its own ([style.md](style.md)).
"""


def folders(area: str) -> list[Path]:
    """The folders of an area that hold modules, each before those in it."""
    root = ROOT / area / "rnnserve" / area
    return sorted({path.parent for path in root.rglob("*.py")})


def modules(folder: Path) -> list[Path]:
    """The modules in a folder that people write."""
    return sorted(path for path in folder.glob("*.py") if not path.stem.endswith(("_pb2", "_pb2_grpc")))


def docstring(path: Path) -> str:
    """A module's docstring.

    Raises:
        SystemExit: If it has none.
    """
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not text:
        raise SystemExit(f"{path.relative_to(ROOT)} has no docstring")
    return text


def first_line(path: Path) -> str:
    """The first line of a module's docstring, for a cell of a table."""
    return docstring(path).splitlines()[0].rstrip(".:").replace("|", "\\|")


def door(path: Path) -> list[str]:
    """The paragraph of a folder's docstring that begins with "Door:"; import-linter refuses a folder without one."""
    return [text for text in docstring(path).split("\n\n") if text.startswith("Door: ")]


def lines() -> Iterator[str]:
    """The page, line by line."""
    yield HEAD
    for area in AREAS:
        for depth, folder in enumerate(folders(area)):
            yield f"{'###' if depth else '##'} `{shown(area, folder)}/`\n"
            init, files = folder / "__init__.py", [path for path in modules(folder) if path.stem != "__init__"]
            yield from (f"{text}\n" for text in (f"{first_line(init)}.", *door(init)))
            if files:
                yield "| file | holds |\n| --- | --- |"
                yield from (f"| `{shown(area, path)}` | {first_line(path)} |" for path in files)
                yield ""


def shown(area: str, path: Path) -> str:
    """A path from the area on."""
    return Path(area, path.relative_to(ROOT / area / "rnnserve" / area)).as_posix()


def main() -> int:
    """Write the page, or check it; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if docs/files.md is out of date")
    args = parser.parse_args()
    page = "\n".join(lines()).rstrip() + "\n"
    if not args.check:
        PAGE.write_text(page, encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page:
        print("docs/files.md differs from the docstrings: run `make docs`", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
