"""Results as one JSON document, for other programs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rnnserve.client import ModelMetadata
from rnnserve.load.load_result import LoadResult
from rnnserve.load.load_test import LoadTest
from rnnserve.load.results import list_findings
from rnnserve.load.statistics import Durations
from rnnserve.load.verdict import Verdict, explain_generator_limit

__all__ = ["RunDescription", "build_results_document"]

_FORMAT = "rnnserve load 3"
_PERCENTILES = (1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95, 99.99, 99.999)


@dataclass(frozen=True)
class RunDescription:
    """When, where and with which workload a load test ran. `options` is the workload by option, for the document."""

    started: str
    command: str
    address: str
    server: tuple[str, str]
    models: tuple[ModelMetadata, ...]
    machine: dict[str, str]
    workload: dict[str, str]
    options: Mapping[str, Any]


def build_results_document(test: LoadTest, run: RunDescription) -> dict[str, Any]:
    """Return all results, ready for `json.dumps`. Durations are integers, in nanoseconds."""
    objective, best = test.objective, test.best
    name, version = run.server
    return {
        "format": _FORMAT,
        "started": run.started,
        "command": run.command,
        "server": {"address": run.address, "name": name, "version": version},
        "models": [
            {
                "name": model.name,
                "versions": list(model.versions),
                "platform": model.platform,
                "parameters": dict(model.properties),
            }
            for model in run.models
        ],
        "machine": run.machine,
        "workload": run.options,
        "points": [_point(result, test) for result in test.pooled],
        "objective": None
        if objective is None
        else {
            "text": objective.text,
            "confidence": objective.confidence,
            "decision": test.decision,
            "holds_at": None if best is None else best.load.size,
        },
        "passed": test.passed,
        "findings": list_findings(test),
    }


def _point(result: LoadResult, test: LoadTest) -> dict[str, Any]:
    """Return the entry of one load: the sum of its runs, and each run."""
    load, statistics, verdict = result.load, result.statistics, test.verdict(result)
    intervals = result.intervals(test.confidence)
    latency_of = {model: statistics.latencies(at) for at, model in enumerate(test.models)}
    point = {
        "rate": load.rate or None,
        "closed": load.closed or None,
        "sessions": load.sessions or None,
        "think_seconds": load.think if load.sessions else None,
        "arrivals": None if load.is_closed else load.arrivals,
        "warmup_seconds": load.warmup,
        "seconds": result.seconds,
        "cut_short": result.cut_short,
        "decided_early": bool(result.early_end),
        "sent": statistics.sent,
        "answered": statistics.answered,
        "rows": statistics.rows,
        "answers_per_second": result.throughput,
        "rows_per_second": result.per_second(statistics.rows),
        "errors": dict(statistics.errors),
        "details": statistics.details,
        "answers": {"compared": statistics.compared, "different": statistics.different},
        "latency": _histogram(result.latency),
        "latency_of": {model: _histogram(latency) for model, latency in latency_of.items() if latency.count},
        "send_lag": _histogram(result.lag),
        "jitter": {
            "latency_deviation": result.latency.deviation,
            "latency_p99_less_p50": result.jitter,
            "send_lag_deviation": result.lag.deviation,
        },
        "generator_cpu": statistics.cpu,
        "generator_limit": explain_generator_limit(result),
        "runs": [
            {"seconds": run.seconds, "requests": run.latency.count, **run.figures} for run in result.runs or (result,)
        ],
        "intervals": {
            name: {"mean": mean, **interval._asdict(), "confidence": test.confidence, "values": len(result.runs)}
            for name, (mean, interval) in intervals.items()
        },
        "verdict": None if verdict is None else _verdict(verdict),
    }
    if result.batches is not None:
        point["batches"] = {str(size): count for size, count in result.batches.items()}
    return point


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "decision": verdict.decision,
        "confidence": verdict.confidence,
        "text": verdict.text,
        "limits": [
            {
                "percentile": each.limit.percent,
                "limit": each.limit.nanoseconds,
                "decision": each.decision,
                "counted": each.sent,
                "over": each.over,
                "share_over": each.interval._asdict(),
                "may_be_the_generator": each.may_be_the_generator,
            }
            for each in verdict.limits
        ],
    }


def _histogram(durations: Durations) -> dict[str, Any]:
    """Return a histogram. Each entry of `buckets` is the largest duration of a bucket and the count of its values."""
    return {
        "count": durations.count,
        "min": durations.min,
        "mean": durations.mean,
        "max": durations.max,
        "percentiles": {f"{percent:g}": durations.percentile(percent) for percent in _PERCENTILES},
        "buckets": durations.buckets(),
    }
