"""Export many modules, and compare the verdicts with the frozen ones.

    PYTHONPATH=tests python -m campaigns.export_verdicts [--freeze] [--packages FOLDER] [corpus|zoo|packages …]

The tables: `corpus` has the verdict on each row of tests/kit/corpus, `zoo` the modes and states of examples/zoo, and
`packages` those of modules of packages, with their distances from eager when they are served (its first lines say how
to install them). A line that isn't as it was frozen is printed with both versions, and the exit status is 1.
"""

import argparse
import contextlib
import difflib
import io
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from kit.corpus import checking
from kit.corpus.families import ROWS
from kit.corpus.rows import Row
from kit.paths import ROOT

FROZEN = Path(__file__).with_name("frozen")


def corpus(_: argparse.Namespace) -> Iterator[str]:
    """Give the verdict on each row: right, refused with its first line, or wrong."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for row in ROWS:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            said = _verdict(row)
        yield f"{row}: {said}"


def _verdict(row: Row) -> str:
    if row.refused and (said := checking.refusal(row)) is not None:
        return f"refused: {said.splitlines()[0]}"
    try:
        checking.check_right([row])
    except pytest.fail.Exception as error:
        return f"wrong: {str(error).splitlines()[0]}"
    return "right"


def zoo(_: argparse.Namespace) -> Iterator[str]:
    """Give the rows of `make zoo`, without the distances, which differ from machine to machine."""
    for line in _printed([str(ROOT / "examples" / "zoo")]):
        yield line.rpartition(" | ")[0]


def packages(args: argparse.Namespace) -> Iterator[str]:
    """Give the rows of `python -m benchmarks.package_modules`, without the packages' versions and small distances."""
    for line in _printed(["-m", "benchmarks.package_modules", str(args.packages)]):
        row = line.removeprefix("| ").partition(" | ")[2]
        yield re.sub(r"(?<=\| )([\d.]+e-(0[6-9]|[1-9]\d)|0|0\.0)(?= \|)", "≤ 1e-5", row)


def _printed(words: list[str]) -> list[str]:
    done = subprocess.run([sys.executable, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()


TABLES: dict[str, Callable[[argparse.Namespace], Iterator[str]]] = {
    "corpus": corpus,
    "zoo": zoo,
    "packages": packages,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m campaigns.export_verdicts", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--freeze", action="store_true", help="write the tables instead of comparing with them")
    parser.add_argument("--packages", type=Path, metavar="FOLDER", help="where the packages were installed")
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"of {', '.join(TABLES)} (default: all)")
    args = parser.parse_args()
    tables = args.tables or [name for name in TABLES if name != "packages" or args.packages]
    if unknown := set(tables) - set(TABLES):
        parser.error(f"no table is called {', '.join(sorted(unknown))}; there are {', '.join(TABLES)}")
    if "packages" in tables and args.packages is None:
        parser.error("the table packages needs --packages FOLDER")
    status = 0
    for name in tables:
        path = FROZEN / f"{name}.txt"
        lines = []
        for line in TABLES[name](args):
            lines.append(line)
            print(f"{name} {len(lines)}: {line}", file=sys.stderr, flush=True)
        if args.freeze:
            path.parent.mkdir(exist_ok=True)
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
            continue
        frozen = path.read_text(encoding="utf-8").splitlines()
        changes = list(difflib.unified_diff(frozen, lines, "frozen", "now", n=0, lineterm=""))
        print("\n".join(changes) or f"{name}: as frozen, {len(lines)} lines")
        status |= bool(changes)
    return status


if __name__ == "__main__":
    sys.exit(main())
