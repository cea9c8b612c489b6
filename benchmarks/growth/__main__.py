"""`python -m benchmarks.growth`: measure what each size costs; write tables, slopes in words, JSON and plots."""

import argparse
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.environments import find_h2load
from benchmarks.errors import BenchmarkError
from benchmarks.growth.many_models import measure_models
from benchmarks.growth.plot import draw_growth
from benchmarks.growth.report import failure_lines, render_growth, slope_lines
from benchmarks.growth.results import Growth
from benchmarks.growth.sizes import SIZES, Size
from benchmarks.growth.turns import measure_size
from benchmarks.options import names_among
from benchmarks.results import write_results
from benchmarks.run_description import describe_run, is_machine_busy
from benchmarks.server_processes import interrupt_on_signal

__all__ = ["main"]

_ROOT = Path(__file__).parents[2]
_NAMES = tuple(size.name for size in SIZES)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the measurements; the exit status is 0 if all points were measured."""
    args = _parse_arguments(argv)
    signal.signal(signal.SIGTERM, interrupt_on_signal)
    try:
        return _run(args)
    except BenchmarkError as error:
        print(f"growth: {error}", file=sys.stderr)
        return 1


def _run(args: argparse.Namespace) -> int:
    find_h2load()
    _make_models(args.work / "growth-models")
    _raise_limit_of_open_files()
    if is_machine_busy():
        print("growth: other processes use this machine, so the figures may mislead", file=sys.stderr)
    description = describe_run()
    chosen = [size for size in SIZES if not args.only or size.name in args.only]
    began = time.monotonic()
    found = []
    for number, size in enumerate(chosen, 1):
        # Each size has its share of the time, and what those before it have left.
        deadline = began + 60 * args.minutes * number / len(chosen)
        found.append(_measure(size, args, deadline))
    text = render_growth(found, description)
    print(text, end="")
    _write(found, args, description, text)
    return 1 if any(growth.failures for growth in found) else 0


def _measure(size: Size, args: argparse.Namespace, deadline: float) -> Growth:
    points = size.quick if args.quick else size.points
    seconds = 0.5 if args.quick else 1.0
    measure = measure_models if size.load is None else measure_size
    try:
        return measure(size, points, args.rounds, seconds, deadline, args.work)
    except BenchmarkError as error:
        print(f"growth: {size.name}: {error}", file=sys.stderr)
        return Growth(size, failures=dict.fromkeys(points, str(error)))


def _write(
    found: Sequence[Growth], args: argparse.Namespace, description: dict[str, dict[str, str]], text: str
) -> None:
    sizes = {
        growth.size.name: {
            "title": growth.size.title,
            "bound": growth.size.bound,
            "rounds": growth.rounds,
            "slopes": slope_lines(growth),
            "not measured": failure_lines(growth),
        }
        for growth in found
    }
    written = write_results(args.output, "growth", {"quick": args.quick, "sizes": sizes}, description, text)
    machine = ", ".join(f"{name} {fact}" for name, fact in description["hardware"].items())
    for growth in found:
        name = f"growth-{growth.size.name}.svg"
        if draw_growth(growth, machine, args.output / name):
            written.append(name)
    print(f"wrote {', '.join(written)} to {args.output}", file=sys.stderr)


def _make_models(folder: Path) -> None:
    """Write the models in a process of its own, so that this one does not load torch."""
    print("making the models", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "benchmarks.growth.make_models", str(folder)]
    done = subprocess.run(command, cwd=_ROOT, check=False)  # noqa: S603 - our own interpreter
    if done.returncode != 0:
        raise BenchmarkError("the models could not be made; the lines above say why")


def _raise_limit_of_open_files() -> None:
    """Let this process and its children open as many files as they may: each connection is one on either side."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth",
        description="Measure what a request costs this server as a size grows, beside what bounds the cost: "
        + ", ".join(_NAMES),
    )
    parser.add_argument(
        "--quick", action="store_true", help="few points, one short round: shows that it runs, not what anything costs"
    )
    parser.add_argument(
        "--only",
        action="extend",
        type=names_among(_NAMES),
        metavar="NAME[,NAME]",
        help=f"measure only these of {', '.join(_NAMES)}; may be repeated",
    )
    parser.add_argument("--rounds", type=int, help="number of rounds (default: 3; quick: 1)")
    parser.add_argument(
        "--minutes",
        type=float,
        help="time for the measurements, after the models are made; what does not fit is not measured, and the report "
        "says so (default: 18; quick: 2)",
    )
    parser.add_argument(
        "--output", type=Path, default=_ROOT / "benchmarks" / "results", help="folder for JSON, text and plots"
    )
    parser.add_argument("--work", type=Path, default=_ROOT / ".bench", help="folder for models and logs")
    args = parser.parse_args(argv)
    args.rounds = args.rounds if args.rounds is not None else 1 if args.quick else 3
    args.minutes = args.minutes if args.minutes is not None else 2.0 if args.quick else 18.0
    if args.rounds < 1:
        parser.error("--rounds must be 1 or more")
    if args.minutes <= 0:
        parser.error("--minutes must be more than 0")
    args.work = args.work.resolve()
    return args


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
