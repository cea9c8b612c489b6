"""The arguments of `rnnserve load`, and the load levels that they name."""

import argparse
from pathlib import Path

from rnnserve.client.commands.connection_options import URL_HELP, add_tls_options
from rnnserve.client.errors import InvalidRequest
from rnnserve.client.load.argument_types import (
    argument_type,
    parse_count,
    parse_counts,
    parse_nonnegative_seconds,
    parse_rates,
    parse_seconds,
    parse_sweep,
)
from rnnserve.client.load.arrivals import ARRIVALS
from rnnserve.client.load.latency_objective import parse_objective
from rnnserve.client.load.load_level import LoadLevel
from rnnserve.client.load.size_distribution import parse_size_distribution
from rnnserve.client.load.units import format_duration, parse_think_time

__all__ = ["add_arguments", "complete_arguments", "default_level", "describe_workload", "load_levels"]

_DEFAULT_RATE = 100.0
_THINK, _STEPS = 10e-3, 100

_EXPLANATION = """\
Requests are sent at a rate, whether or not the server keeps up, as independent users would send them (an open loop).
Latency is measured from the moment at which a request was due, so a server that stalls is charged for every request
that it delays. --closed N keeps N requests in flight instead, which shows the server's capacity, not the latency that
users see.

--sessions N steps through N sequences: each session sends the next point --think after the answer to the last one, and
continues from its final states (carried: h_n is sent as h_0). A step is due a think time after the last answer, and
its latency is counted from then. Jitter is given as the standard deviation of the latency, as its p99 less its p50, and
as the send lag, which is how much later than it was due a step was sent. After --steps a session begins anew with the
same points, whose answers must be those of the first time.

Lengths and batch sizes are one number (16), a range (1:64), or numbers with weights (4=3,64=1: three of four are 4).

What is sent and checked:
  Classifiers of directions get walks whose direction is known, and every label is checked.
  Other models get inputs drawn from their description: integers within their bounds, floats within theirs or normal,
  rows of --length steps, or of one length in a request where rows cannot be padded. The first answer to each request
  is kept as the golden one, and every later answer to the same request must be equal to it: bit for bit where the
  server says that the model is batch_invariant, else floats within 0.001 (0.001 of the largest value if that is above
  1). So wrong answers show that depend on traffic, not those that are always the same.
  --inputs FILE.npz sends your own rows to one model. Each array has all axes of an input, with the batch, and the
  input's name; CASE/NAME makes several cases. A request takes --batch rows of a case that follow one another, or all of
  them for a model that is served alone. Arrays with the names of outputs (or output:NAME) are the golden answers, to
  which every answer must be near, within 0.001 as above. The golden.npz of a published version is such a file.

examples:
  rnnserve load                                      every model at 127.0.0.1:8001, 100 requests/s for 10 s
  rnnserve load direction_simple --rate 500,1000,2000 --html load.html
  rnnserve load direction_simple=3 direction_stacked=1 --length 1:64 --batch 1=9,8=1
  rnnserve load --sweep 500:4000:500 --slo p99=5ms   which of these rates meet the objective?
  rnnserve load --slo p50=1ms,p99=5ms                the highest rate that meets it
  rnnserve load --serve repository --closed 64       starts and stops the server, too
  rnnserve load sentiment --inputs samples.npz --batch 1:8
  rnnserve load policy --sessions 1 --think 10ms     a control loop: latency and jitter of one step at a time

exit status: 0 if every request was answered and every answer that was checked was right; with --slo, if some rate meets
it and every such answer was right. Otherwise 1.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EXPLANATION
    _add_server_arguments(parser)
    _add_load_arguments(parser)
    _add_workload_arguments(parser)
    _add_output_arguments(parser)


def _add_server_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models",
        metavar="MODEL[=WEIGHT]",
        nargs="*",
        help="models to send requests to, with relative weights (default: all)",
    )
    server = parser.add_mutually_exclusive_group()
    server.add_argument("--url", default="127.0.0.1:8001", metavar="HOST:PORT", help=URL_HELP)
    server.add_argument(
        "--serve", type=Path, metavar="REPOSITORY", help="run `rnnserve serve REPOSITORY` for the duration of the test"
    )
    parser.add_argument(
        "--serve-flags", default="", metavar="FLAGS", help="more options for the server that --serve starts"
    )
    add_tls_options(parser)


def _add_load_arguments(parser: argparse.ArgumentParser) -> None:
    count, seconds = argument_type(parse_count), argument_type(parse_seconds)
    levels = parser.add_mutually_exclusive_group()
    levels.add_argument(
        "--rate",
        type=argument_type(parse_rates),
        metavar="R[,R...]",
        help=f"requests per second (default {_DEFAULT_RATE:g})",
    )
    levels.add_argument(
        "--sweep", type=argument_type(parse_sweep), metavar="FROM:TO:STEP", help="a range of rates, both ends included"
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
        "--steps", type=count, metavar="K", help=f"steps of a session, after which it begins anew (default {_STEPS})"
    )
    parser.add_argument(
        "--slo",
        type=argument_type(parse_objective),
        metavar="pQ=TIME[,...]",
        help="limits of latencies, p99=5ms; without rates, search for the highest rate that meets them",
    )
    parser.add_argument(
        "--arrivals",
        choices=ARRIVALS,
        default=ARRIVALS[0],
        help="spacing of an open loop's requests (default %(default)s)",
    )
    parser.add_argument(
        "--duration", type=seconds, default=10.0, metavar="S", help="measured seconds per load (default 10)"
    )
    parser.add_argument(
        "--warmup",
        type=argument_type(parse_nonnegative_seconds),
        default=1.0,
        metavar="S",
        help="seconds of load before the measurement (default 1)",
    )
    parser.add_argument(
        "--max-requests",
        type=count,
        default=1_000_000,
        metavar="N",
        help="largest number of measured requests per load (default 1,000,000)",
    )
    parser.add_argument(
        "--timeout", type=seconds, default=5.0, metavar="S", help="seconds that a request may take (default 5)"
    )
    parser.add_argument(
        "--processes", type=count, default=1, metavar="N", help="number of generators, one process each (default 1)"
    )
    parser.add_argument(
        "--connections", type=count, default=4, metavar="N", help="connections of each generator (default 4)"
    )


def _add_workload_arguments(parser: argparse.ArgumentParser) -> None:
    sizes = argument_type(parse_size_distribution)
    parser.add_argument(
        "--length",
        type=sizes,
        metavar="SIZES",
        help="steps per sequence (default 4); with --sessions points per step (1)",
    )
    parser.add_argument("--batch", type=sizes, default="1", metavar="SIZES", help="rows per request (default 1)")
    parser.add_argument("--seed", type=int, default=13, metavar="N", help="seed of all random numbers (default 13)")
    parser.add_argument("--inputs", type=Path, metavar="FILE.npz", help="send rows from a file, to one model")
    parser.add_argument("--no-check", action="store_true", help="do not check labels and answers")


def _add_output_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="write all results as JSON; - for standard output, and then the table goes to standard error",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with charts (needs the extra `report`)")


def complete_arguments(args: argparse.Namespace) -> None:
    """Fill in what is not given.

    Raises:
        InvalidRequest: Arguments do not go together.
    """
    for name in ("think", "steps"):
        if getattr(args, name) is not None and not args.sessions:
            raise InvalidRequest(f"--{name} is for sessions: give their number, --sessions 1")
    if args.sessions and args.inputs is not None:
        raise InvalidRequest("--inputs has whole sequences, and --sessions draws points: give one of them")
    args.think = _THINK if args.think is None else args.think
    args.steps = args.steps or _STEPS
    args.length = args.length or parse_size_distribution("1" if args.sessions else "4")


def load_levels(args: argparse.Namespace) -> list[LoadLevel]:
    """Return the levels that the arguments name; none for a search, or the default."""
    open_loops = [_load_level(args, rate=rate) for rate in args.rate or args.sweep or ()]
    closed = [_load_level(args, closed=in_flight) for in_flight in args.closed or ()]
    return open_loops + closed + [_load_level(args, sessions=sessions) for sessions in args.sessions or ()]


def default_level(args: argparse.Namespace) -> LoadLevel:
    """Return the level where the arguments name none, and where a search begins."""
    return _load_level(args, rate=_DEFAULT_RATE)


def _load_level(args: argparse.Namespace, rate: float = 0.0, closed: int = 0, sessions: int = 0) -> LoadLevel:
    return LoadLevel(
        rate=rate,
        closed=closed,
        sessions=sessions,
        think=args.think if sessions else 0.0,
        arrivals=args.arrivals,
        warmup=args.warmup,
        duration=args.duration,
        max_requests=args.max_requests,
        timeout=args.timeout,
    )


def _describe_arrivals(args: argparse.Namespace) -> str:
    if args.sessions:
        think = format_duration(args.think * 1e9) if args.think else "at once"
        return f"sessions of {args.steps} steps, the next {think} after an answer"
    return "closed loop" if args.closed else str(args.arrivals)


def describe_workload(args: argparse.Namespace, weights: dict[str, float]) -> dict[str, str]:
    """Return the settings of the workload, as text by name."""
    return {
        "models": ", ".join(f"{name} {weight / sum(weights.values()):.0%}" for name, weight in weights.items()),
        "lengths": args.length.text if args.inputs is None else f"those in {args.inputs.name}",
        "batch sizes": args.batch.text,
        "arrivals": _describe_arrivals(args),
        "duration": f"{args.duration:g} s after {args.warmup:g} s of warm-up",
        "generators": f"{args.processes}, {args.connections} connections each",
        "timeout": f"{args.timeout:g} s",
        "seed": str(args.seed),
    }
