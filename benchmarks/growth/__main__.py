"""`python -m benchmarks.growth`: measure the cost of each size, and write tables and JSON."""

import argparse
import resource
import sys
import time
from collections.abc import Sequence

from benchmarks.environments import find_h2load
from benchmarks.errors import BenchmarkError
from benchmarks.growth.many_models import measure_models
from benchmarks.growth.results import Growth
from benchmarks.growth.sizes import SIZES, Size
from benchmarks.growth.turns import measure_size
from benchmarks.options import add_shared_options, add_turn_options, exit_with, run_module
from benchmarks.report import describe_lines, describe_run, write_results

_NAMES = tuple(size.name for size in SIZES)
_NOTES = [
    "x: the median over the rounds of the fast path's cost divided by that of its bound in the same round",
    "^: the power of the size by which the cost has grown since the point before: 0 is level, 1 linear; rounds differ "
    "by a tenth, which is a power of 0.07",
]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the measurements. The exit status is 0 if all points were measured."""
    args = _parse_arguments(argv)
    find_h2load()
    run_module("benchmarks.growth.make_models", args.work / "growth-models")
    # Each connection is an open file in the server and in the load generator.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    description = describe_run()
    chosen = [size for size in SIZES if not args.only or size.name in args.only]
    began = time.monotonic()
    found = []
    for number, size in enumerate(chosen, 1):
        # Each size has its share of the time, and the time that earlier sizes have left.
        deadline = began + 60 * args.minutes * number / len(chosen)
        found.append(_measure(size, args, deadline))
    lines = [line for growth in found for line in (*growth.lines(), "")]
    text = "\n".join([*lines, *_NOTES, *describe_lines(description)]) + "\n"
    print(text, end="")
    sizes = {
        growth.size.name: {
            "title": growth.size.title,
            "bound": growth.size.bound,
            "rounds": growth.rounds,
            "not measured": growth.failure_lines(),
        }
        for growth in found
    }
    write_results(args.output, "growth", {"quick": args.quick, "sizes": sizes}, description, text)
    return 1 if any(growth.failures for growth in found) else 0


def _measure(size: Size, args: argparse.Namespace, deadline: float) -> Growth:
    points = size.quick if args.quick else size.points
    rounds, seconds = (1, 0.5) if args.quick else (args.rounds or 3, 1.0)
    measure = measure_models if size.load is None else measure_size
    try:
        return measure(size, points, rounds, seconds, deadline, args.work)
    except BenchmarkError as error:
        print(f"growth: {size.name}: {error}", file=sys.stderr)
        return Growth(size, failures=dict.fromkeys(points, str(error)))


def _parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.growth",
        description="Measure how the cost of a request grows with a size, next to a lower bound of the cost: "
        + ", ".join(_NAMES),
    )
    add_turn_options(parser, "3")
    parser.add_argument(
        "--minutes",
        type=float,
        help="time for the measurements, after the models are made; the report lists measurements that did not fit "
        "(default: 18; quick: 2)",
    )
    add_shared_options(parser, _NAMES)
    args = parser.parse_args(argv)
    args.minutes = args.minutes if args.minutes is not None else 2.0 if args.quick else 18.0
    if args.minutes <= 0:
        parser.error("--minutes must be more than 0")
    args.work = args.work.resolve()
    return args


if __name__ == "__main__":
    exit_with("growth", main)
