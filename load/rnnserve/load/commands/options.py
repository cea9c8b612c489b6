"""The options of `rnnserve load`, and the workload that they describe."""

import argparse
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from rnnserve.client import InvalidRequest
from rnnserve.client.commands.argument_types import parse_seconds
from rnnserve.client.commands.connection_options import URL_HELP, add_tls_options, add_token_options
from rnnserve.load.confidence import CONFIDENCE
from rnnserve.load.draws import ARRIVALS, parse_size_distribution, parse_weight
from rnnserve.load.load_level import LoadLevel, parse_objective
from rnnserve.load.units import (
    format_duration,
    parse_confidence,
    parse_count,
    parse_counts,
    parse_natural,
    parse_nonnegative_seconds,
    parse_rates,
    parse_think_time,
)

__all__ = ["add_arguments", "complete_arguments", "describe_workload", "document_workload", "is_search", "load_levels"]

_DEFAULT_RATE = 100.0
_DEFAULT_THINK, _DEFAULT_STEPS = 10e-3, 100

_WORKLOAD = (
    "rate", "closed", "sessions", "think", "steps", "arrivals", "slo", "confidence", "no_early_stop", "runs",
    "duration", "warmup", "max_requests", "timeout", "processes", "connections", "length", "batch", "seed", "pool",
    "inputs", "no_check",
)  # fmt: skip
"""The names of the workload's options, which the JSON document contains."""

_TEXTS = ("slo", "length", "batch", "inputs")

_FORMER = {
    "sweep": "list the rates: --rate 500,1000,1500",
    "repeat": "run the command that the JSON file has under `command` again",
    "compare": "measure both with --runs 5, and compare the intervals that each test prints",
    "scenario": "use --closed 1 (single-stream), --closed 1 --batch 8 (multi-stream), --slo (server) or --closed 64 "
    "--batch 32 (offline)",
    "gap_cv": "arrivals are poisson or constant",
}
"""Removed options, and their replacements."""

_EXPLANATION = """\
The command sends requests at a rate, whether or not the server keeps up (an open loop), as independent users would. It
counts latency from the time at which a request was due. With --closed and --sessions, it waits for responses instead.

Inputs are random, and the first answer to each request is the reference for later ones. They must be equal bit for bit
if the model is batch invariant, or else within 0.001. With --inputs, the command sends your rows, and compares the
answers with the outputs in the file if it has any.

With --slo p99=5ms, the report says for each load whether the objective is met, missed or inconclusive. A confidence
interval decides.

SIZES are one number (16), a range (1:64), or numbers with weights (4=3,64=1: three of four are 4).

examples:
  rnnserve load --rate 500,1000,2000 --html load.html
  rnnserve load direction_simple=3 direction_stacked=1 --length 1:64 --batch 1=9,8=1
  rnnserve load --slo p50=1ms,p99=5ms                find the highest rate that meets both limits
  rnnserve load --serve repository --closed 64       start and stop the server, too
  rnnserve load policy --sessions 1 --think 10ms     a control loop: latency and jitter of single steps
  rnnserve load --rate 500 --runs 5 --json a.json    print a confidence interval for each figure
"""


class _Former(argparse.Action):
    """Refuses a removed option."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        parser.error(f"{self.option_strings[0]} has been removed; {_FORMER[self.dest]}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EXPLANATION
    parser.add_argument(
        "models",
        metavar="MODEL[=WEIGHT]",
        nargs="*",
        type=parse_weight,
        help="models to send requests to, with weights (default: all)",
    )
    server = parser.add_mutually_exclusive_group()
    server.add_argument("--url", default="127.0.0.1:8001", metavar="HOST:PORT", help=URL_HELP)
    server.add_argument("--serve", type=Path, metavar="REPOSITORY", help="run `rnnserve serve REPOSITORY` for the test")
    parser.add_argument("--serve-flags", default="", metavar="FLAGS", help="more options for the server of --serve")
    add_tls_options(parser)
    add_token_options(parser)

    def add(name: str, parse: Callable[[str], object], metavar: str, help: str, default: object = None) -> None:
        help += "" if default is None or "(default" in help else f" (default {default:,})"
        parser.add_argument(name, type=parse, metavar=metavar, help=help, default=default)

    levels = parser.add_mutually_exclusive_group()
    levels.add_argument("--rate", type=parse_rates, metavar="R[,R...]", help="requests per second (default 100)")
    levels.add_argument("--closed", type=parse_counts, metavar="N[,N...]", help="keep N requests in flight instead")
    levels.add_argument(
        "--sessions",
        type=parse_counts,
        metavar="N[,N...]",
        help="run N sessions instead, which send one step at a time",
    )
    add("--think", parse_think_time, "TIME", "time from a response to the session's next step (default 10ms)")
    add("--steps", parse_count, "K", f"steps of a session, after which it starts over (default {_DEFAULT_STEPS})")
    parser.add_argument(
        "--arrivals", choices=ARRIVALS, default=ARRIVALS[0], help="spacing of requests at a rate (default %(default)s)"
    )
    add(
        "--slo",
        parse_objective,
        "pQ=TIME[,...]",
        "latency limits; without --rate, search for the highest rate that meets them",
    )
    add("--confidence", parse_confidence, "P", "confidence of verdicts and intervals", CONFIDENCE)
    parser.add_argument("--no-early-stop", action="store_true", help="continue a load that has missed the objective")
    add("--runs", parse_count, "N", "number of runs of each load, for intervals", 1)
    add("--duration", parse_seconds, "S", "measured seconds per load (default 10)", 10.0)
    add("--warmup", parse_nonnegative_seconds, "S", "seconds of load before the measurement (default 1)", 1.0)
    add("--max-requests", parse_count, "N", "largest number of measured requests per load", 1_000_000)
    add("--timeout", parse_seconds, "S", "seconds that a request may take (default 5)", 5.0)
    add("--processes", parse_count, "N", "number of load generators, each in its own process", 1)
    add("--connections", parse_count, "N", "connections of each load generator", 4)
    add("--length", parse_size_distribution, "SIZES", "steps per sequence (default 4; with --sessions, 1 per step)")
    add("--batch", parse_size_distribution, "SIZES", "rows per request (default 1)")
    add("--seed", parse_natural, "N", "seed of all random numbers", 13)
    add("--pool", parse_count, "N", "number of different requests of each load generator, up to 64 MiB", 512)
    parser.add_argument("--inputs", type=Path, metavar="FILE.npz", help="send rows from a file, to one model")
    parser.add_argument("--no-check", action="store_true", help="do not check answers")
    parser.add_argument(
        "--json", metavar="FILE", help="write all results as JSON; - writes to standard output, and the table to stderr"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with charts (needs the extra `report`)")
    for name in _FORMER:
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, nargs="?", action=_Former, default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def complete_arguments(args: argparse.Namespace) -> None:
    """Fill in missing arguments. Raises InvalidRequest if some arguments conflict."""
    if len(dict(args.models)) < len(args.models):
        raise InvalidRequest(f"a model is named twice: {', '.join(name for name, _ in args.models)}; name each once")
    for name in ("think", "steps"):
        if getattr(args, name) is not None and not args.sessions:
            raise InvalidRequest(f"--{name} applies only to sessions; add --sessions 1")
    if args.sessions and args.inputs is not None:
        raise InvalidRequest("--inputs contains whole sequences, but --sessions sends single points; omit one of them")
    if args.sessions:
        args.think = _DEFAULT_THINK if args.think is None else args.think
        args.steps = args.steps or _DEFAULT_STEPS
    args.length = args.length or parse_size_distribution("1" if args.sessions else "4")
    args.batch = args.batch or parse_size_distribution("1")
    if args.slo is not None:
        args.slo = replace(args.slo, confidence=args.confidence)
    if not (args.rate or args.closed or args.sessions or args.slo):
        args.rate = [_DEFAULT_RATE]


def is_search(args: argparse.Namespace) -> bool:
    """Return whether to search for the highest rate that meets the objective."""
    return not (args.rate or args.closed or args.sessions)


def load_levels(args: argparse.Namespace) -> list[LoadLevel]:
    """Return the load levels. For a search, return only the first, with enough requests for a verdict."""
    settings = {name: getattr(args, name) for name in ("arrivals", "warmup", "duration", "max_requests", "timeout")}
    settings["ends_early"] = args.slo is not None and args.runs == 1 and not args.no_early_stop
    if is_search(args):
        # Twice the number of requests that proves a limit if none of them exceeds it.
        shares = [limit.percent / 100 for limit in args.slo.limits if limit.percent < 100]
        needed = max(
            (2 * math.log((1 - args.confidence) / 2) / math.log(share) for share in shares if share), default=0
        )
        return [LoadLevel(rate=max(_DEFAULT_RATE, float(f"{needed / args.duration:.3g}")), **settings)]
    levels = [
        *(LoadLevel(rate=rate, **settings) for rate in args.rate or ()),
        *(LoadLevel(closed=in_flight, **settings) for in_flight in args.closed or ()),
        *(LoadLevel(sessions=sessions, think=args.think, **settings) for sessions in args.sessions or ()),
    ]
    return list(dict.fromkeys(levels))


def describe_workload(args: argparse.Namespace, weights: Mapping[str, float]) -> dict[str, str]:
    """Return the settings of the workload, as text by name."""
    arrivals = "closed loop" if args.closed else args.arrivals
    if args.sessions:
        think = f"{format_duration(args.think * 1e9)} after a response" if args.think else "at once"
        arrivals = f"sessions of {args.steps} steps, the next step {think}"
    return {
        "models": ", ".join(f"{name} {weight / sum(weights.values()):.0%}" for name, weight in weights.items()),
        "lengths": args.length.text if args.inputs is None else f"from {args.inputs.name}",
        "batch sizes": args.batch.text,
        "arrivals": arrivals,
        "duration": f"{args.duration:g} s after {args.warmup:g} s of warm-up",
        **({} if args.runs == 1 else {"runs": f"{args.runs} of each load"}),
        "generators": f"{args.processes}, {args.connections} connections each",
        "timeout": f"{args.timeout:g} s",
        "seed": str(args.seed),
    }


def document_workload(args: argparse.Namespace, weights: Mapping[str, float]) -> dict[str, Any]:
    """Return the workload by option, ready for `json.dumps`. Call it after `complete_arguments`."""
    workload = {name: getattr(args, name) for name in _WORKLOAD}
    texts = {name: value and str(getattr(value, "text", value)) for name, value in workload.items() if name in _TEXTS}
    return {"models": dict(weights), **workload, **texts}
