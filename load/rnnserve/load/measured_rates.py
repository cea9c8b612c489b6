"""What a JSON document of `rnnserve load` says for sizing: its rates, how many servers it measured, what they used.

A verdict on another objective than the document's own is by the same test, from the histogram of the latencies, but
without the document's correction for slow requests that come in bunches: the histogram does not say when they came.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rnnserve.client import InvalidRequest
from rnnserve.load.early_stopping import exceeds, holds
from rnnserve.load.latency_objective import LatencyObjective, parse_objective
from rnnserve.load.sizing import MeasuredRate
from rnnserve.load.verdict import Decision

__all__ = ["MeasuredServers", "read_measured_servers"]


@dataclass(frozen=True)
class MeasuredServers:
    """Servers that a load test has measured together.

    Attributes:
        objective: The objective of the verdicts.
        rates: Each rate of an open loop.
        servers: Number of servers.
        usage: Cores and bytes that they used, by rate; only of a server that `--serve` started.
        workload: What was sent, as text by name.
        machine: The machine that sent it, as text by name.
    """

    objective: LatencyObjective
    rates: Sequence[MeasuredRate]
    servers: int
    usage: Mapping[float, tuple[float, int]]
    workload: Mapping[str, str]
    machine: Mapping[str, str]


def read_measured_servers(
    document: Mapping[str, Any], name: str, objective: LatencyObjective | None
) -> MeasuredServers:
    """Read what a document says.

    Args:
        document: A document of `build_results_document`.
        name: Name of its file, for errors.
        objective: The objective; None for the document's own.

    Raises:
        InvalidRequest: The document lacks what sizing needs; the message says what, and how to measure it.
    """
    try:
        return _read(document, name, objective)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InvalidRequest(f"{name}: a result lacks {error}; was the file edited?") from error


def _read(document: Mapping[str, Any], name: str, objective: LatencyObjective | None) -> MeasuredServers:
    said = document["objective"]
    own = None if said is None else parse_objective(said["text"], said["confidence"])
    wanted = own if objective is None else objective
    if wanted is None:
        raise InvalidRequest(f"{name}: has no objective: give one, --slo p99=20ms")
    if own is not None and wanted.limits == own.limits:
        wanted = own
    points = [point for point in document["points"] if point["rate"]]
    if not points:
        raise InvalidRequest(
            f"{name}: has no rates, and loads in flight and sessions do not say what servers carry; measure some: "
            f"rnnserve load --slo {wanted.text} --json {name}"
        )
    faults = sum(point["labels"]["wrong"] + point["answers"]["different"] for point in points)
    if faults:
        raise InvalidRequest(f"{name}: {faults:,} answers are wrong; nothing is sized by a server that gives such")
    is_own = wanted is own
    return MeasuredServers(
        wanted,
        [_rate(point, wanted, is_own=is_own) for point in points],
        len(str(document["server"]["address"]).split(",")),
        {
            float(point["rate"]): (float(point["server_cores"]), int(point["server_memory"]))
            for point in points
            if point.get("server_cores") is not None
        },
        _workload(document["workload"]),
        document["machine"],
    )


def _rate(point: Mapping[str, Any], objective: LatencyObjective, *, is_own: bool) -> MeasuredRate:
    buckets = [(int(end), int(count)) for end, count in point["latency"]["buckets"]]
    failed = sum(point["errors"].values())
    percentiles = tuple(_percentile(buckets, percent) for percent, _ in objective.limits)
    decision = Decision(point["verdict"]["decision"]) if is_own else _decide(buckets, failed, objective)
    return MeasuredRate(float(point["rate"]), decision, percentiles, failed)


def _decide(buckets: Sequence[tuple[int, int]], failed: int, objective: LatencyObjective) -> Decision:
    """Judge an objective by a histogram: a value counts as over a limit if the end of its bucket is."""
    total = sum(count for _, count in buckets)
    if failed:
        return Decision.NOT_HELD
    risk = 1 - objective.confidence
    decisions = set()
    for percent, limit in objective.limits:
        over = sum(count for end, count in buckets if end > limit)
        if percent == 100:
            decisions.add(Decision.NOT_HELD if over else Decision.HELD)
        elif holds(over, total, percent, risk):
            decisions.add(Decision.HELD)
        else:
            is_over = exceeds(over, total, percent, risk / len(objective.limits))
            decisions.add(Decision.NOT_HELD if is_over else Decision.UNDECIDED)
    return next(one for one in (Decision.NOT_HELD, Decision.UNDECIDED, Decision.HELD) if one in decisions)


def _percentile(buckets: Sequence[tuple[int, int]], percent: float) -> float:
    """Return the end of the bucket that holds a percentile, by nearest rank; infinite if nothing was answered."""
    left = percent / 100 * sum(count for _, count in buckets) - 1e-9
    for end, count in buckets:
        left -= count
        if left <= 0:
            return float(end)
    return float("inf")


def _workload(workload: Mapping[str, Any]) -> dict[str, str]:
    models = ", ".join(workload["models"])
    lengths = workload["inputs"] or workload["length"]
    return {"models": models, "lengths": str(lengths), "rows a request": str(workload["batch"])}
