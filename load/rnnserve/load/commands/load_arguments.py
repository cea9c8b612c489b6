"""The arguments of `rnnserve load`. Those of the workload have no defaults: `load_workload` fills them in.

So it can be told which of them were given, beside a file that holds a workload.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from rnnserve.client import InvalidRequest
from rnnserve.client.commands.argument_types import argument_type, parse_seconds
from rnnserve.client.commands.connection_options import URL_HELP, add_tls_options, add_token_options
from rnnserve.load.argument_types import (
    parse_confidence,
    parse_count,
    parse_counts,
    parse_nonnegative_seconds,
    parse_positive,
    parse_processes,
    parse_rates,
    parse_seed,
    parse_sweep,
)
from rnnserve.load.arrivals import ARRIVALS
from rnnserve.load.commands.load_help import EXPLANATION
from rnnserve.load.latency_objective import CONFIDENCE, parse_objective
from rnnserve.load.scenarios import SCENARIOS
from rnnserve.load.size_distribution import parse_size_distribution
from rnnserve.load.units import parse_think_time

__all__ = ["DEFAULTS", "WORKLOAD_OPTIONS", "add_arguments", "parse_workload"]

DEFAULTS: dict[str, Any] = {
    "think": 10e-3,
    "steps": 100,
    "confidence": CONFIDENCE,
    "no_early_stop": False,
    "runs": 1,
    "arrivals": ARRIVALS[0],
    "gap_cv": 3.0,
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
"""Of the workload's options that have one value by default."""

WORKLOAD_OPTIONS = (
    "scenario",
    "rate",
    "closed",
    "sessions",
    "slo",
    "length",
    "batch",
    "inputs",
    *DEFAULTS,
)
"""The names of the workload's options in the namespace; `sweep` becomes `rate`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXPLANATION
    _add_server_arguments(parser)
    _add_workload(parser)
    _add_file_arguments(parser)


def parse_workload(words: Iterable[str], source: str) -> argparse.Namespace:
    """Parse options of the workload that come from a file.

    Raises:
        InvalidRequest: One is wrong; the message begins with the source.
    """

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise InvalidRequest(f"{source}: the workload is wrong: {message}")

    parser = Parser(add_help=False, allow_abbrev=False)
    _add_workload(parser)
    return parser.parse_args(list(words))


def _add_server_arguments(parser: argparse.ArgumentParser) -> None:
    server = parser.add_mutually_exclusive_group()
    server.add_argument("--url", default="127.0.0.1:8001", metavar="HOST:PORT", help=URL_HELP)
    server.add_argument(
        "--serve", type=Path, metavar="REPOSITORY", help="run `rnnserve serve REPOSITORY` for the duration of the test"
    )
    parser.add_argument(
        "--serve-flags", default="", metavar="FLAGS", help="more options for the server that --serve starts"
    )
    add_tls_options(parser)
    add_token_options(parser)


def _add_workload(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models",
        metavar="MODEL[=WEIGHT]",
        nargs="*",
        help="models to send requests to, with relative weights (default: all)",
    )
    _add_level_arguments(parser)
    _add_objective_arguments(parser)
    _add_time_arguments(parser)
    _add_request_arguments(parser)


def _add_level_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scenario", choices=tuple(SCENARIOS), help="a load of MLPerf LoadGen, by its name")
    levels = parser.add_mutually_exclusive_group()
    levels.add_argument(
        "--rate",
        type=argument_type(parse_rates),
        metavar="R[,R...]",
        help="requests per second (default 100)",
    )
    levels.add_argument(
        "--sweep",
        dest="rate",
        type=argument_type(parse_sweep),
        metavar="FROM:TO:STEP",
        help="a range of rates, both ends included",
    )
    levels.add_argument(
        "--closed", type=argument_type(parse_counts), metavar="N[,N...]", help="keep N requests in flight instead"
    )
    levels.add_argument(
        "--sessions",
        type=argument_type(parse_counts),
        metavar="N[,N...]",
        help="step through N sequences instead, each one step at a time",
    )
    parser.add_argument(
        "--think",
        type=argument_type(parse_think_time),
        metavar="TIME",
        help="time between an answer and the next step of a session, 0 for none (default 10ms)",
    )
    parser.add_argument(
        "--steps",
        type=argument_type(parse_count),
        metavar="K",
        help=f"steps of a session, after which it begins anew (default {DEFAULTS['steps']})",
    )
    parser.add_argument(
        "--arrivals",
        choices=ARRIVALS,
        help=f"spacing of an open loop's requests; gamma for bursts (default {DEFAULTS['arrivals']})",
    )
    parser.add_argument(
        "--gap-cv",
        type=argument_type(parse_positive),
        metavar="CV",
        help="of gamma arrivals, the standard deviation of the gaps divided by their mean: above 1 for bursts "
        f"(default {DEFAULTS['gap_cv']:g})",
    )


def _add_objective_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--slo",
        type=argument_type(parse_objective),
        metavar="pQ=TIME[,...]",
        help="limits of latencies, p99=5ms; without rates, search for the highest rate that meets them",
    )
    parser.add_argument(
        "--confidence",
        type=argument_type(parse_confidence),
        metavar="P",
        help=f"confidence of verdicts, intervals and comparisons (default {DEFAULTS['confidence']:g})",
    )
    parser.add_argument(
        "--no-early-stop",
        action="store_true",
        default=None,
        help="measure for the whole --duration, even if the objective is decided before",
    )
    parser.add_argument(
        "--runs",
        type=argument_type(parse_count),
        metavar="N",
        help=f"run every load N times, for intervals (default {DEFAULTS['runs']})",
    )


def _add_time_arguments(parser: argparse.ArgumentParser) -> None:
    count, seconds = argument_type(parse_count), argument_type(parse_seconds)
    parser.add_argument(
        "--duration", type=seconds, metavar="S", help=f"measured seconds per load (default {DEFAULTS['duration']:g})"
    )
    parser.add_argument(
        "--warmup",
        type=argument_type(parse_nonnegative_seconds),
        metavar="S",
        help=f"seconds of load before the measurement (default {DEFAULTS['warmup']:g})",
    )
    parser.add_argument(
        "--max-requests",
        type=count,
        metavar="N",
        help=f"largest number of measured requests per load (default {DEFAULTS['max_requests']:,})",
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        metavar="S",
        help=f"seconds that a request may take (default {DEFAULTS['timeout']:g})",
    )
    parser.add_argument(
        "--processes",
        type=argument_type(parse_processes),
        metavar="N",
        help="number of generators, one process each; auto for as many as the rates need, and for more where one was "
        f"busy, up to half of the cores (default {DEFAULTS['processes']})",
    )
    parser.add_argument(
        "--connections",
        type=count,
        metavar="N",
        help=f"connections of each generator (default {DEFAULTS['connections']})",
    )


def _add_request_arguments(parser: argparse.ArgumentParser) -> None:
    sizes = argument_type(parse_size_distribution)
    parser.add_argument(
        "--length",
        type=sizes,
        metavar="SIZES",
        help="steps per sequence (default 4); with --sessions points per step (1)",
    )
    parser.add_argument("--batch", type=sizes, metavar="SIZES", help="rows per request (default 1)")
    parser.add_argument(
        "--seed",
        type=argument_type(parse_seed),
        metavar="N",
        help=f"seed of all random numbers (default {DEFAULTS['seed']})",
    )
    parser.add_argument(
        "--pool",
        type=argument_type(parse_count),
        metavar="N",
        help=f"different requests of each generator, at most 64 MiB of them (default {DEFAULTS['pool']})",
    )
    parser.add_argument("--inputs", type=Path, metavar="FILE.npz", help="send rows from a file, to one model")
    parser.add_argument("--no-check", action="store_true", default=None, help="do not check labels and answers")


def _add_file_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="write all results as JSON; - for standard output, and then the table goes to standard error",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with charts (needs the extra `report`)")
    parser.add_argument(
        "--repeat",
        type=Path,
        metavar="FILE",
        help="send the workload of a file that --json wrote; no other option of the workload may be given",
    )
    parser.add_argument(
        "--compare",
        type=Path,
        nargs=2,
        metavar=("A", "B"),
        help="compare two files that --json wrote, of the same workload, and send nothing",
    )
