"""Results as one JSON document, for other programs."""

from typing import Any

from rnnserve.client.load.campaign import Campaign
from rnnserve.client.load.context import Context
from rnnserve.client.load.histogram import Histogram
from rnnserve.client.load.judge import generator_limit
from rnnserve.client.load.plan import Point
from rnnserve.client.load.table import findings

__all__ = ["PERCENTILES", "document"]

PERCENTILES = (1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95, 99.99, 99.999)

_FORMAT = "rnnserve load 1"


def document(campaign: Campaign, context: Context) -> dict[str, Any]:
    """Return everything that was found; durations are in nanoseconds, as whole numbers."""
    objective, best = campaign.objective, campaign.best
    return {
        "format": _FORMAT,
        "started": context.started,
        "command": context.command,
        "server": {"address": context.address, "name": context.server.name, "version": context.server.version},
        "models": [
            {
                "name": model.name,
                "versions": list(model.versions),
                "platform": model.platform,
                **_parameters(model.parameters),
            }
            for model in context.models
        ],
        "machine": context.machine,
        "points": [_point(point) for point in campaign.points],
        "objective": None
        if objective is None
        else {"text": objective.text, "holds_at": None if best is None else best.load.size},
        "passed": campaign.passed,
        "findings": findings(campaign),
    }


def _parameters(parameters: Any) -> dict[str, Any]:  # noqa: ANN401 - a mapping of scalars
    return {"parameters": dict(parameters)}


def _point(point: Point) -> dict[str, Any]:
    load, tally = point.load, point.tally
    found = {
        "rate": load.rate or None,
        "closed": load.closed or None,
        "arrivals": None if load.closed else load.arrivals,
        "warmup_seconds": load.warmup,
        "seconds": point.seconds,
        "cut_short": point.cut_short,
        "sent": tally.sent,
        "answered": tally.answered,
        "rows": tally.rows,
        "answers_per_second": point.throughput,
        "errors": dict(tally.errors),
        "details": tally.details,
        "labels": {"checked": tally.checked, "wrong": tally.wrong},
        "latency": _histogram(tally.latency),
        "latency_of": {model: _histogram(histogram) for model, histogram in tally.latency_of.items()},
        "send_lag": _histogram(tally.lag),
        "generator_cpu": tally.cpu,
        "generator_limit": generator_limit(point),
    }
    if point.batches is not None:
        found["batches"] = {str(size): count for size, count in point.batches.items()}
    return found


def _histogram(histogram: Histogram) -> dict[str, Any]:
    """Return a histogram: `buckets` are pairs of a bucket's largest duration and how many lie in it."""
    return {
        "count": histogram.count,
        "min": histogram.min,
        "mean": histogram.mean,
        "max": histogram.max,
        "percentiles": {f"{percent:g}": histogram.percentile(percent) for percent in PERCENTILES},
        "buckets": histogram.buckets(),
    }
