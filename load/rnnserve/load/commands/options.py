"""The options of `rnnserve load`.

The workload's options have no defaults in argparse, because `--repeat` must notice which ones the user set: it refuses
them. `commands/workload.py` fills in the defaults from `DEFAULTS`.
"""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

from rnnserve.client import InvalidRequest
from rnnserve.client.commands.argument_types import argument_type, parse_seconds
from rnnserve.client.commands.connection_options import URL_HELP, add_tls_options, add_token_options
from rnnserve.load.confidence import CONFIDENCE
from rnnserve.load.draws import ARRIVALS, parse_size_distribution
from rnnserve.load.load_level import parse_objective
from rnnserve.load.units import (
    parse_confidence,
    parse_count,
    parse_counts,
    parse_natural,
    parse_nonnegative_seconds,
    parse_rates,
    parse_sweep,
    parse_think_time,
)

__all__ = ["DEFAULTS", "FORMER", "WORKLOAD_OPTIONS", "add_arguments", "parse_workload"]

DEFAULTS: dict[str, Any] = {
    "think": 10e-3,
    "steps": 100,
    "confidence": CONFIDENCE,
    "no_early_stop": False,
    "runs": 1,
    "arrivals": ARRIVALS[0],
    "duration": 10.0,
    "warmup": 1.0,
    "max_requests": 1_000_000,
    "timeout": 5.0,
    "processes": 1,
    "connections": 4,
    "seed": 13,
    "pool": 512,
    "no_check": False,
}
"""The defaults of the workload's options."""

WORKLOAD_OPTIONS = ("rate", "closed", "sessions", "slo", "length", "batch", "inputs", *DEFAULTS)
"""The names of the workload's options in the argparse namespace. There, `sweep` becomes `rate`."""

FORMER = {
    "scenario": "use --closed 1 (single-stream), --closed 1 --batch 8 (multi-stream), --slo (server) or --closed 64 "
    "--batch 32 (offline)",
    "gap_cv": "arrivals are poisson or constant",
}
"""Removed options, and their replacements."""

_EXPLANATION = """\
Requests are sent at a rate, whether or not the server keeps up (an open loop), as independent users would send them.
Latency counts from the time at which a request was due. --closed and --sessions wait for answers instead.

Direction classifiers get walks, whose labels are known. Other models get random inputs, and the first answer to a
request is the reference for later ones: they must equal it bit for bit if the model is batch invariant, else within
0.001. --inputs sends your own rows, with your own reference outputs if the file has them.

--slo p99=5ms says for each load whether the objective is met, missed or inconclusive, by a confidence interval.

SIZES are one number (16), a range (1:64), or numbers with weights (4=3,64=1: three of four are 4).

examples:
  rnnserve load --rate 500,1000,2000 --html load.html
  rnnserve load direction_simple=3 direction_stacked=1 --length 1:64 --batch 1=9,8=1
  rnnserve load --slo p50=1ms,p99=5ms                find the highest rate that meets both limits
  rnnserve load --serve repository --closed 64       start and stop the server, too
  rnnserve load policy --sessions 1 --think 10ms     a control loop: latency and jitter of single steps
  rnnserve load --rate 500 --runs 5 --json a.json
  rnnserve load --repeat a.json --json b.json        send the same load again
  rnnserve load --compare a.json b.json              which figures changed?
"""


class _Former(argparse.Action):
    """Refuses a removed option."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        parser.error(f"there is no option {self.option_strings[0]} any more: {FORMER[self.dest]}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EXPLANATION
    server = parser.add_mutually_exclusive_group()
    server.add_argument("--url", default="127.0.0.1:8001", metavar="HOST:PORT", help=URL_HELP)
    server.add_argument("--serve", type=Path, metavar="REPOSITORY", help="run `rnnserve serve REPOSITORY` for the test")
    parser.add_argument("--serve-flags", default="", metavar="FLAGS", help="more options for the server of --serve")
    add_tls_options(parser)
    add_token_options(parser)
    _add_workload(parser)
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="write all results as JSON; - for standard output, with the table on standard error",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with charts (needs the extra `report`)")
    parser.add_argument(
        "--repeat",
        type=Path,
        metavar="FILE",
        help="send the workload of a file that --json wrote, without other options",
    )
    parser.add_argument(
        "--compare",
        type=Path,
        nargs=2,
        metavar=("A", "B"),
        help="compare two files that --json wrote, and send nothing",
    )


def parse_workload(words: Iterable[str], source: str) -> argparse.Namespace:
    """Parse workload options from a file. Raises InvalidRequest with `source` at the start of the message."""

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise InvalidRequest(f"{source}: the workload is wrong: {message}")

    parser = Parser(add_help=False, allow_abbrev=False)
    _add_workload(parser)
    return parser.parse_args(list(words))


def _add_workload(parser: argparse.ArgumentParser) -> None:
    def add(
        name: str,
        parse: Callable[[str], object],
        metavar: str,
        help: str,
        group: Any = parser,  # noqa: ANN401 - argparse's groups have no public type
        **settings: Any,  # noqa: ANN401 - those of argparse
    ) -> None:
        default = DEFAULTS.get(name.removeprefix("--").replace("-", "_"))
        help += "" if default is None or "(default" in help else f" (default {default:,})"
        group.add_argument(name, type=argument_type(parse), metavar=metavar, help=help, **settings)

    parser.add_argument(
        "models", metavar="MODEL[=WEIGHT]", nargs="*", help="models to send requests to, with weights (default: all)"
    )
    levels = parser.add_mutually_exclusive_group()
    add("--rate", parse_rates, "R[,R...]", "requests per second (default 100)", levels)
    add("--sweep", parse_sweep, "FROM:TO:STEP", "a range of rates, both ends included", levels, dest="rate")
    add("--closed", parse_counts, "N[,N...]", "keep N requests in flight instead", levels)
    add("--sessions", parse_counts, "N[,N...]", "step through N sequences instead, one step at a time", levels)
    add("--think", parse_think_time, "TIME", "time between an answer and a session's next step (default 10ms)")
    add("--steps", parse_count, "K", "steps of a session, after which it begins again")
    parser.add_argument("--arrivals", choices=ARRIVALS, help="spacing of requests at a rate (default poisson)")
    add(
        "--slo",
        parse_objective,
        "pQ=TIME[,...]",
        "limits of latencies; without --rate, find the highest rate that meets them",
    )
    add("--confidence", parse_confidence, "P", "confidence of verdicts and intervals")
    parser.add_argument(
        "--no-early-stop", action="store_true", default=None, help="go on after a load has missed the objective"
    )
    add("--runs", parse_count, "N", "run every load N times, for intervals")
    add("--duration", parse_seconds, "S", "measured seconds per load (default 10)")
    add("--warmup", parse_nonnegative_seconds, "S", "seconds of load before the measurement (default 1)")
    add("--max-requests", parse_count, "N", "largest number of measured requests per load")
    add("--timeout", parse_seconds, "S", "seconds that a request may take (default 5)")
    add("--processes", _parse_processes, "N", "number of generators, one process each")
    add("--connections", parse_count, "N", "connections of each generator")
    add(
        "--length",
        parse_size_distribution,
        "SIZES",
        "steps per sequence (default 4; with --sessions, points per step: 1)",
    )
    add("--batch", parse_size_distribution, "SIZES", "rows per request (default 1)")
    add("--seed", parse_natural, "N", "seed of all random numbers")
    add("--pool", parse_count, "N", "different requests of each generator, at most 64 MiB of them")
    parser.add_argument("--inputs", type=Path, metavar="FILE.npz", help="send rows from a file, to one model")
    parser.add_argument("--no-check", action="store_true", default=None, help="do not check answers")
    for name in FORMER:
        parser.add_argument(
            f"--{name.replace('_', '-')}", nargs="?", action=_Former, default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )


def _parse_processes(text: str) -> int:
    if text == "auto":
        raise InvalidRequest("there is no 'auto' any more: give a number, and more if the results name the generator")
    return parse_count(text)
