"""Repeated runs of one load: their sum, and intervals of their figures."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rnnserve.load.distributions import student_quantile
from rnnserve.load.histogram import Histogram
from rnnserve.load.latency_counts import LatencyCounts
from rnnserve.load.load_level import LoadResult
from rnnserve.load.load_statistics import LoadStatistics

__all__ = ["FIGURES", "Interval", "figures", "interval_of", "pool_runs", "run_intervals"]

FIGURES = ("answers/s", "mean", "p50", "p90", "p99")
"""Figures that have intervals: a rate per second, and latencies in nanoseconds."""


@dataclass(frozen=True)
class Interval:
    """An interval that holds the mean of a figure, by Student's t distribution.

    Attributes:
        mean: Mean of the values.
        low: Lower end.
        high: Upper end.
        confidence: Probability that such an interval holds the mean of all possible values.
        values: Number of values.
    """

    mean: float
    low: float
    high: float
    confidence: float
    values: int


def interval_of(values: Sequence[float], confidence: float) -> Interval:
    """Return the interval of two or more values that are independent and about normal."""
    count, mean = len(values), math.fsum(values) / len(values)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = student_quantile((1 + confidence) / 2, count - 1) * deviation / math.sqrt(count)
    return Interval(mean, mean - half, mean + half, confidence, count)


def figures(latency: Histogram, answers_per_second: float) -> dict[str, float]:
    """Return the `FIGURES` of a run, or of a part of it."""
    percentiles = {f"p{percent}": float(latency.percentile(percent)) for percent in (50, 90, 99)}
    return {"answers/s": answers_per_second, "mean": latency.mean, **percentiles}


def run_intervals(result: LoadResult, confidence: float) -> dict[str, Interval]:
    """Return the interval of each figure over the runs of a result; none if it is one run."""
    if len(result.runs) < 2:
        return {}
    found = [figures(run.statistics.latency, run.throughput) for run in result.runs]
    return {name: interval_of([run[name] for run in found], confidence) for name in FIGURES}


def pool_runs(results: Sequence[LoadResult]) -> list[LoadResult]:
    """Return one result for each load, in their order: of several runs, the sum."""
    runs_of: dict[object, list[LoadResult]] = {}
    for result in results:
        runs_of.setdefault(result.load, []).append(result)
    return [runs[0] if len(runs) == 1 else _sum_of(runs) for runs in runs_of.values()]


def _sum_of(runs: Sequence[LoadResult]) -> LoadResult:
    statistics = LoadStatistics.merged(run.statistics for run in runs)
    statistics.counts = LatencyCounts.joined(run.statistics.counts for run in runs)
    # Of each generator the mean, unless generators were added between the runs.
    cores = [run.statistics.cpu for run in runs]
    if len({len(cpu) for cpu in cores}) == 1:
        statistics.cpu = [math.fsum(of_one) / len(runs) for of_one in zip(*cores, strict=True)]
    counted = [Counter(run.batches) for run in runs if run.batches is not None]
    batches = dict(sorted(sum(counted, start=Counter()).items())) if len(counted) == len(runs) else None
    used = [run.server_cores for run in runs if run.server_cores is not None]
    return LoadResult(
        runs[0].load,
        statistics,
        math.fsum(run.seconds for run in runs),
        batches or None,
        None,
        tuple(runs),
        math.fsum(used) / len(used) if used else None,
        max((run.server_memory for run in runs if run.server_memory is not None), default=None),
    )
