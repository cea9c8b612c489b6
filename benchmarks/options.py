"""Options that the programs of this folder share, and the way these programs end."""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from benchmarks.errors import BenchmarkError

_ROOT = Path(__file__).parents[1]


def add_shared_options(parser: argparse.ArgumentParser, names: Collection[str]) -> None:
    """Add `--only`, for these names, and the folders `--output` and `--work`."""
    parser.add_argument(
        "--only",
        action="extend",
        type=_names_among(names),
        metavar="NAME[,NAME]",
        help=f"measure only these of {', '.join(names)}; may be repeated",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=_ROOT / "benchmarks" / "results",
        metavar="FOLDER",
        help="folder for the results (default: benchmarks/results)",
    )
    parser.add_argument(
        "--work", type=Path, default=_ROOT / ".bench", metavar="FOLDER", help="folder for models and logs"
    )


def add_turn_options(parser: argparse.ArgumentParser, rounds: str) -> None:
    """Add `--quick`, and `--rounds` with this text about its default."""
    parser.add_argument(
        "--quick", action="store_true", help="one short round: shows that the benchmark runs, not what is faster"
    )
    parser.add_argument("--rounds", type=_positive, help=f"number of rounds (default: {rounds}; quick: 1)")


def run_module(module: str, folder: Path, root: Path = _ROOT, variables: Mapping[str, str] | None = None) -> None:
    """Run a module that fills a folder in a separate process, so that this process does not load torch.

    Args:
        module: The module; its argument is the folder.
        folder: The folder.
        root: The source tree of the module.
        variables: Environment variables for the process.

    Raises:
        BenchmarkError: If the process fails. It has printed the reason.
    """
    print(f"making {folder.name}", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", module, str(folder)]
    done = subprocess.run(command, cwd=root, env={**os.environ, **(variables or {})}, check=False)  # noqa: S603 - our own interpreter
    if done.returncode != 0:
        raise BenchmarkError(f"cannot create {folder.name}; the lines above say why")


def exit_with(program: str, run: Callable[[], int]) -> None:
    """Run a program and exit with its status. A BenchmarkError prints one line and exits with status 1.

    SIGTERM raises KeyboardInterrupt, as Ctrl-C does, so that blocks end their servers.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        sys.exit(run())
    except BenchmarkError as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _interrupt(number: int, _: object) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


def _names_among(known: Collection[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"there is no {name!r}; choose from {', '.join(known)}")
        return names

    return parse


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 1 or more")
    return int(text)
