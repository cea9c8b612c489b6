"""Results as one JSON document, for other programs."""

from typing import Any

from rnnserve.load.findings import list_findings
from rnnserve.load.generator_limit import explain_generator_limit
from rnnserve.load.histogram import Histogram
from rnnserve.load.latency_objective import CONFIDENCE
from rnnserve.load.load_level import LoadResult
from rnnserve.load.load_statistics import PARTS
from rnnserve.load.load_test import LoadTest
from rnnserve.load.repetition import figures, run_intervals
from rnnserve.load.run_description import RunDescription
from rnnserve.load.verdict import LimitVerdict, Verdict

__all__ = ["PERCENTILES", "build_results_document"]

PERCENTILES = (1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.95, 99.99, 99.999)

_FORMAT = "rnnserve load 1"


def build_results_document(test: LoadTest, run: RunDescription) -> dict[str, Any]:
    """Return all results, ready for `json.dumps`; durations are integers, in nanoseconds."""
    objective, best = test.objective, test.best
    return {
        "format": _FORMAT,
        "started": run.started,
        "command": run.command,
        "server": {"address": run.address, "name": run.server.name, "version": run.server.version},
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
        "workload": run.repeatable,
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
    """Return one load: its runs, and their sum."""
    confidence = CONFIDENCE if test.objective is None else test.objective.confidence
    intervals = run_intervals(result, confidence)
    verdict = test.verdict(result)
    return {
        **_result(result),
        "runs": [_run(run) for run in result.runs or (result,)],
        "intervals": {name: vars(interval) for name, interval in intervals.items()},
        "verdict": None if verdict is None else _verdict(verdict),
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "decision": verdict.decision,
        "confidence": verdict.confidence,
        "text": verdict.text,
        "limits": [_limit(limit) for limit in verdict.limits],
    }


def _limit(limit: LimitVerdict) -> dict[str, Any]:
    return {
        "percentile": limit.percent,
        "limit": limit.limit,
        "decision": limit.decision,
        "counted": limit.sent,
        "over": limit.over,
        "over_allowed": limit.allowed,
        "needed": limit.needed,
        "bunching": limit.bunching,
        "may_be_the_generator": limit.blames_generator,
    }


def _run(run: LoadResult) -> dict[str, Any]:
    """Return the figures of one run, and of the equal parts of its time."""
    statistics = run.statistics
    seconds = run.seconds / PARTS
    parts = [
        {"requests": latency.count, **figures(latency, answers / seconds if seconds else 0.0)}
        for latency, answers in zip(statistics.part_latency, statistics.part_answers.tolist(), strict=True)
    ]
    return {
        "seconds": run.seconds,
        "requests": statistics.latency.count,
        **figures(statistics.latency, run.throughput),
        "parts": parts,
    }


def _result(result: LoadResult) -> dict[str, Any]:
    load, statistics = result.load, result.statistics
    fields = {
        "rate": load.rate or None,
        "closed": load.closed or None,
        "sessions": load.sessions or None,
        "think_seconds": load.think if load.sessions else None,
        "arrivals": None if load.is_closed else load.arrivals,
        "gap_cv": load.gap_cv if load.arrivals == "gamma" and not load.is_closed else None,
        "scenario": load.scenario or None,
        "warmup_seconds": load.warmup,
        "seconds": result.seconds,
        "cut_short": result.cut_short,
        "decided_early": result.look is not None,
        "sent": statistics.sent,
        "answered": statistics.answered,
        "rows": statistics.rows,
        "answers_per_second": result.throughput,
        "rows_per_second": statistics.rows / result.seconds if result.seconds else 0.0,
        "errors": dict(statistics.errors),
        "details": statistics.details,
        "labels": {"checked": statistics.checked, "wrong": statistics.wrong},
        "answers": {"compared": statistics.compared, "different": statistics.different},
        "latency": _histogram(statistics.latency),
        "latency_of": {model: _histogram(histogram) for model, histogram in statistics.latency_of.items()},
        "send_lag": _histogram(statistics.lag),
        "jitter": {
            "latency_deviation": statistics.latency.deviation,
            "latency_p99_less_p50": result.jitter,
            "send_lag_deviation": statistics.lag.deviation,
        },
        "generator_cpu": statistics.cpu,
        "generator_limit": explain_generator_limit(result),
        "server_cores": result.server_cores,
        "server_memory": result.server_memory,
    }
    if result.batches is not None:
        fields["batches"] = {str(size): count for size, count in result.batches.items()}
    return fields


def _histogram(histogram: Histogram) -> dict[str, Any]:
    """Return a histogram; each entry of `buckets` is a bucket's largest duration and the count of values in it."""
    return {
        "count": histogram.count,
        "min": histogram.min,
        "mean": histogram.mean,
        "max": histogram.max,
        "percentiles": {f"{percent:g}": histogram.percentile(percent) for percent in PERCENTILES},
        "buckets": histogram.buckets(),
    }
