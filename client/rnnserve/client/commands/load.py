"""`rnnserve load`: how long a server takes to answer, at which rates, and the highest that holds an objective."""

import argparse
import contextlib
import datetime as dt
import json
import shlex
import sys
from pathlib import Path

from rnnserve.client.errors import ClientError, InvalidRequest
from rnnserve.client.load.arrivals import ARRIVALS
from rnnserve.client.load.campaign import Campaign
from rnnserve.client.load.context import Context
from rnnserve.client.load.discovery import Server
from rnnserve.client.load.distribution import parse_distribution, parse_weighted
from rnnserve.client.load.document import document
from rnnserve.client.load.judge import parse_objective
from rnnserve.client.load.machine import describe_machine
from rnnserve.client.load.plan import Load
from rnnserve.client.load.processes import Fleet
from rnnserve.client.load.progress import Progress
from rnnserve.client.load.report import report
from rnnserve.client.load.serving import serving
from rnnserve.client.load.share import Target
from rnnserve.client.load.table import table
from rnnserve.client.load.words import count, counts, rates, seconds, seconds_or_none, sweep, word
from rnnserve.client.load.workload import WorkloadSpec, build_pool

__all__ = ["MISTAKES", "add_arguments", "run"]

MISTAKES = (ClientError,)

_RATE = 100.0

_EXPLANATION = """\
Requests are sent at a rate, whether or not the server keeps up, as independent users would (an open loop). Latency is
counted from the moment at which a request was to be sent, so a server that stalls is charged for everyone it kept
waiting. --closed N keeps N requests in flight instead, which shows how much a server can do, not how it feels.

Lengths and batch sizes are one number (16), a range (1:64), or numbers with weights (4=3,64=1: three of four are 4).
Models that tell walks' directions are asked about walks whose direction is known, and every label is checked.

examples:
  rnnserve load                                      every model at 127.0.0.1:8001, 100 requests/s for 10 s
  rnnserve load direction_simple --rate 500,1000,2000 --html load.html
  rnnserve load direction_simple=3 direction_stacked=1 --length 1:64 --batch 1=9,8=1
  rnnserve load --sweep 500:4000:500 --slo p99=5ms   which of these rates hold it?
  rnnserve load --slo p50=1ms,p99=5ms                the highest rate that holds it
  rnnserve load --serve repository --closed 64       starts and stops the server, too

exit status: 0 when every request was answered and every label was right; with --slo, when some rate holds it and every
label was right. Otherwise 1.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EXPLANATION
    parser.add_argument(
        "models",
        metavar="MODEL[=WEIGHT]",
        nargs="*",
        help="whom to ask, and how often relative to others (default: all)",
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--url", default="127.0.0.1:8001", metavar="HOST:PORT", help="the server's gRPC address (default %(default)s)"
    )
    where.add_argument(
        "--serve", type=Path, metavar="REPOSITORY", help="start `rnnserve serve REPOSITORY` for the time of the test"
    )
    parser.add_argument(
        "--serve-flags", default="", metavar="FLAGS", help="more options for the server that --serve starts"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--rate", type=word(rates), metavar="R[,R...]", help=f"requests a second (default {_RATE:g})")
    how.add_argument("--sweep", type=word(sweep), metavar="FROM:TO:STEP", help="rates, both ends included")
    how.add_argument("--closed", type=word(counts), metavar="N[,N...]", help="keep N requests in flight instead")
    parser.add_argument(
        "--slo",
        type=word(parse_objective),
        metavar="pQ=TIME[,...]",
        help="what latencies may be, p99=5ms; without rates, search for the highest rate that holds it",
    )
    parser.add_argument(
        "--arrivals",
        choices=ARRIVALS,
        default=ARRIVALS[0],
        help="how an open loop's requests are spaced (default %(default)s)",
    )
    parser.add_argument(
        "--length",
        type=word(parse_distribution),
        default="4",
        metavar="SIZES",
        help="points of a sequence (default 4)",
    )
    parser.add_argument(
        "--batch",
        type=word(parse_distribution),
        default="1",
        metavar="SIZES",
        help="sequences in a request (default 1)",
    )
    parser.add_argument(
        "--duration",
        type=word(seconds),
        default=10.0,
        metavar="S",
        help="seconds measured for each load (default 10)",
    )
    parser.add_argument(
        "--warmup", type=word(seconds_or_none), default=1.0, metavar="S", help="seconds before them (default 1)"
    )
    parser.add_argument(
        "--max-requests",
        type=word(count),
        default=1_000_000,
        metavar="N",
        help="most requests measured for each load (default 1,000,000)",
    )
    parser.add_argument(
        "--timeout", type=word(seconds), default=5.0, metavar="S", help="seconds that a request may take (default 5)"
    )
    parser.add_argument(
        "--processes", type=word(count), default=1, metavar="N", help="generators, each in a process (default 1)"
    )
    parser.add_argument(
        "--connections", type=word(count), default=4, metavar="N", help="connections of each generator (default 4)"
    )
    parser.add_argument("--seed", type=int, default=13, metavar="N", help="of everything random (default 13)")
    parser.add_argument("--no-check", action="store_true", help="do not check labels")
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="write everything found; - for standard output, the table then goes to standard error",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with plots")


def run(args: argparse.Namespace) -> int:
    """Ask, measure, tell."""
    weights = parse_weighted(args.models)
    with contextlib.ExitStack() as stack:
        address = args.url if args.serve is None else stack.enter_context(serving(args.serve, args.serve_flags))
        server = stack.enter_context(Server(address, args.timeout))
        description = server.describe()
        weights = weights or dict.fromkeys(server.ready_models(), 1.0)
        models = server.models(weights)
        spec = WorkloadSpec(models, weights, args.length, args.batch, not args.no_check, args.seed)
        build_pool(spec)  # what cannot be asked is said here, by one process, before any load is made
        context = Context(
            started=dt.datetime.now(dt.UTC).astimezone().isoformat(timespec="seconds"),
            command=shlex.join(["rnnserve", *sys.argv[1:]]),
            address=server.address,
            server=description,
            models=models,
            machine=describe_machine(),
            workload=_workload(args, weights),
        )
        fleet = stack.enter_context(Fleet(Target(server.address, args.connections), spec, args.processes))
        loads = _loads(args)
        searching = bool(args.slo) and loads == []
        progress = Progress(sys.stderr, None if searching else len(loads) or 1)
        campaign = Campaign(fleet, server, tuple(weights), progress, args.slo)
        try:
            if searching:
                campaign.search(_load(args, rate=_RATE))
            else:
                campaign.sweep(loads or [_load(args, rate=_RATE)])
        except KeyboardInterrupt:
            progress.say("interrupted: what was measured before follows")
            _tell(args, campaign, context)
            raise
    _tell(args, campaign, context)
    return 0 if campaign.passed else 1


def _tell(args: argparse.Namespace, campaign: Campaign, context: Context) -> None:
    if not campaign.points:
        return
    print(table(campaign), file=sys.stderr if args.json == "-" else sys.stdout)
    if args.json is not None:
        text = json.dumps(document(campaign, context), indent=1, ensure_ascii=False)
        if args.json == "-":
            print(text)
        else:
            _write(Path(args.json), text + "\n")
    if args.html is not None:
        _write(args.html, report(campaign, context))


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(f"{path}: cannot be written ({error.strerror})") from error


def _loads(args: argparse.Namespace) -> list[Load]:
    open_loops = [_load(args, rate=rate) for rate in args.rate or args.sweep or ()]
    return open_loops + [_load(args, closed=in_flight) for in_flight in args.closed or ()]


def _load(args: argparse.Namespace, rate: float = 0.0, closed: int = 0) -> Load:
    return Load(rate, closed, args.arrivals, args.warmup, args.duration, args.max_requests, args.timeout)


def _workload(args: argparse.Namespace, weights: dict[str, float]) -> dict[str, str]:
    return {
        "models": ", ".join(f"{name} {weight / sum(weights.values()):.0%}" for name, weight in weights.items()),
        "lengths": args.length.text,
        "batch sizes": args.batch.text,
        "arrivals": "closed loop" if args.closed else args.arrivals,
        "duration": f"{args.duration:g} s after {args.warmup:g} s of warm-up",
        "generators": f"{args.processes}, {args.connections} connections each",
        "timeout": f"{args.timeout:g} s",
        "seed": str(args.seed),
    }
