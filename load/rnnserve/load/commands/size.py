"""`rnnserve size`: how many servers a rate takes, and what each asks of its machine, from a load test's results."""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rnnserve.client import ClientError, InvalidRequest
from rnnserve.client.commands.argument_types import argument_type
from rnnserve.load.argument_types import parse_positive, parse_seed
from rnnserve.load.commands.load_workload import read_document
from rnnserve.load.latency_objective import parse_objective
from rnnserve.load.measured_rates import MeasuredServers, read_measured_servers
from rnnserve.load.sizing import Capacity, MeasuredRate, Resources, Sizing, find_capacity, resources_of
from rnnserve.load.units import format_duration, format_rate

__all__ = ["MISTAKES", "add_arguments", "run"]

MISTAKES = (ClientError,)

_OF_MACHINE = ("processor", "cores", "memory")

_EXPLANATION = """\
First measure what one server carries, on a machine like those that will serve, and with requests like those that will
come: their lengths, their rows, their models. The search finds the highest rate that holds the objective:

  rnnserve load --serve repository --slo p99=20ms --length 1:64 --json load.json
  rnnserve size load.json --target-rate 5000

What one server carries is the highest rate that holds the objective at the confidence of the load test. If the next
higher rate was measured and does not hold it, the rate in between is taken at which a straight line between the two
meets the limit; latency grows ever faster with the rate, so that the server would hold a little more. Nothing is said
of rates above the highest one that was measured: then the server may carry more, and it is said so.

N + 1: so many servers that N of them carry the target, and one more. One is away whenever it fails, is restarted, or
gets another version, and the objective holds then, too. With --spare 2 two may be away at once (a zone of two, or a
failure during a rollout); --spare 0 is for work that may wait.

The target is the highest rate that comes, not the mean of the day. It is taken to be spread evenly: clients of rnnserve
and Envoy do that; connections that stay on one server do not (docs/several-machines.md).

Of a server that --serve has started, the file also says how many cores and how much memory it used. Each server asks
for a quarter more than that (`requests` of Kubernetes), and may have twice as much memory before it is ended. There is
no limit of its cores: a limit stops a server for the rest of 100 ms whenever a burst has used its share up.

examples:
  rnnserve size load.json --target-rate 5000
  rnnserve size load.json --target-rate 5000 --slo p50=2ms,p99=10ms
  rnnserve size load.json --target-rate 5000 --spare 2 --json
"""


@dataclass(frozen=True)
class _Found:
    """What is printed."""

    measured: MeasuredServers
    capacity: Capacity
    sizing: Sizing
    resources: Resources | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EXPLANATION
    parser.add_argument("file", type=Path, metavar="FILE", help="results of `rnnserve load --json FILE`")
    parser.add_argument(
        "--target-rate",
        type=argument_type(parse_positive),
        required=True,
        metavar="R",
        help="requests per second that all servers are to carry together, at the busiest time",
    )
    parser.add_argument(
        "--slo",
        type=argument_type(parse_objective),
        metavar="pQ=TIME[,...]",
        help="limits of latencies, p99=20ms (default: those of the load test)",
    )
    parser.add_argument(
        "--spare",
        type=argument_type(parse_seed),
        default=1,
        metavar="N",
        help="servers that may be away at once while the others carry the target (default %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON document, for programs")


def run(args: argparse.Namespace) -> int:
    """Print how many servers the rate takes, with the arithmetic."""
    measured = read_measured_servers(read_document(args.file), str(args.file), args.slo)
    try:
        capacity = find_capacity(measured.rates, measured.objective)
    except InvalidRequest as error:
        raise InvalidRequest(f"{args.file}: {error}") from error
    used = measured.usage.get(capacity.below.rate)
    found = _Found(
        measured,
        capacity,
        Sizing(args.target_rate, capacity.rate / measured.servers, args.spare),
        None if used is None else resources_of(capacity, measured.servers, *used),
    )
    print(json.dumps(_document(found), indent=1) if args.json else "\n".join(_lines(found)))
    return 0


def _document(found: _Found) -> dict[str, Any]:
    resources = found.resources
    return {
        "format": "rnnserve size 1",
        "objective": found.measured.objective.text,
        "target_rate": found.sizing.target,
        "rate_of_one": found.sizing.each,
        "is_interpolated": found.capacity.is_interpolated,
        "is_at_least": found.capacity.above is None,
        "carrying": found.sizing.carrying,
        "spare": found.sizing.spare,
        "servers": found.sizing.servers,
        "used": None if resources is None else {"cores": resources.cores, "memory_bytes": resources.memory},
        "resources": None if resources is None else _kubernetes(resources),
        "workload": dict(found.measured.workload),
        "machine": dict(found.measured.machine),
        "measured": [asdict(one) for one in found.measured.rates],
    }


def _kubernetes(resources: Resources) -> dict[str, dict[str, str]]:
    return {
        "requests": {"cpu": f"{round(1000 * resources.cpu_request)}m", "memory": _mebibytes(resources.memory_request)},
        "limits": {"memory": _mebibytes(resources.memory_limit)},
    }


def _lines(found: _Found) -> list[str]:
    sizing = found.sizing
    each, while_away = sizing.target / sizing.servers, sizing.target / sizing.carrying
    lines = [
        *_capacity_lines(found),
        f"{format_rate(sizing.target)} / {format_rate(sizing.each)} = {sizing.target / sizing.each:.2f}: "
        f"{sizing.carrying} carry {format_rate(sizing.target)} requests/s, {format_rate(round(while_away))}/s each",
    ]
    if sizing.spare:
        lines.append(
            f"+ {sizing.spare} that may be away (failed, restarted, given another version): {sizing.servers} servers, "
            f"{format_rate(round(each))}/s each while all are there"
        )
    lines += _resource_lines(found)
    lines.append("")
    lines.append("holds for requests and machines as measured:")
    machine = found.measured.machine
    facts = {**found.measured.workload, **{name: machine[name] for name in _OF_MACHINE if name in machine}}
    return [*lines, *(f"  {name}: {text}" for name, text in facts.items())]


def _capacity_lines(found: _Found) -> list[str]:
    capacity, objective = found.capacity, found.measured.objective

    def shown(one: MeasuredRate) -> str:
        pairs = zip(objective.limits, one.percentiles, strict=True)
        percentiles = ", ".join(f"p{percent:g} {format_duration(value)}" for (percent, _), value in pairs)
        failed = f", {one.failed:,} failed" if one.failed else ""
        return f"{format_rate(one.rate)}/s {one.decision} ({percentiles}{failed})"

    at_least = " at least" if capacity.above is None else ""
    lines = [f"one server carries{at_least} {format_rate(found.sizing.each)} requests/s at {objective.text}"]
    beside = "nothing above was measured, and it may carry more" if capacity.above is None else shown(capacity.above)
    how = "; between them by a straight line" if capacity.is_interpolated else ""
    lines.append(f"  measured: {shown(capacity.below)}; {beside}{how}")
    if found.measured.servers > 1:
        lines.append(f"  {found.measured.servers} servers were measured together; one is taken to carry an even part")
    return lines


def _resource_lines(found: _Found) -> list[str]:
    resources = found.resources
    if resources is None:
        return ["resources of one server: not in the file; measure with `rnnserve load --serve REPOSITORY`"]
    asked, used = _kubernetes(resources), f"{resources.cores:.2f} cores and {_mebibytes(resources.memory)}"
    requests, limits = asked["requests"], asked["limits"]
    return [
        f"resources of one server: it used {used} at that rate; with a quarter more,",
        f"  requests: cpu {requests['cpu']}, memory {requests['memory']}; limits: memory {limits['memory']}",
    ]


def _mebibytes(size: int) -> str:
    return f"{-(-size // 2**20)}Mi"
