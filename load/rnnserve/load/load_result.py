"""The result of one load level, and the sum of several runs of it."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from rnnserve.load.confidence import Interval, mean_interval
from rnnserve.load.load_level import LoadLevel
from rnnserve.load.statistics import Durations, LoadStatistics

__all__ = ["FIGURES", "LoadResult", "pool_runs"]

FIGURES = ("answers/s", "mean", "p50", "p90", "p99")
"""Figures that have intervals: a rate per second, and latencies in nanoseconds."""


@dataclass(frozen=True)
class LoadResult:
    """The result of one load level, summed over all generators."""

    load: LoadLevel
    statistics: LoadStatistics
    seconds: float  # measured time
    early_end: str = ""  # why the load ended early, or empty if it did not
    batches: dict[int, int] | None = None  # batches by size, including the warm-up, or None if they are unknown
    runs: Sequence["LoadResult"] = field(default=(), repr=False)  # the summed runs, or empty for a single run

    @cached_property
    def latency(self) -> Durations:
        """Latencies of requests that succeeded or timed out."""
        return self.statistics.latencies()

    @cached_property
    def lag(self) -> Durations:
        """Send lags of all requests."""
        return self.statistics.lags()

    @property
    def throughput(self) -> float:
        """Answers per second within the measured time."""
        return self.per_second(self.statistics.in_time)

    def per_second(self, count: int) -> float:
        """Return a count divided by the measured time."""
        return count / self.seconds if self.seconds else 0.0

    @property
    def jitter(self) -> int:
        """The p99 latency minus the p50 latency, in nanoseconds."""
        return self.latency.percentile(99) - self.latency.percentile(50)

    @property
    def cut_short(self) -> bool:
        """Whether the measurement ended at `max_requests`."""
        if self.runs:
            return any(run.cut_short for run in self.runs)
        return not self.early_end and self.seconds < self.load.duration

    @property
    def figures(self) -> dict[str, float]:
        """The value of each name in `FIGURES`."""
        percentiles = {f"p{percent}": float(self.latency.percentile(percent)) for percent in (50, 90, 99)}
        return {"answers/s": self.throughput, "mean": self.latency.mean, **percentiles}

    def intervals(self, confidence: float) -> dict[str, tuple[float, Interval]]:
        """Return the mean of each figure over the runs, with its interval. Empty for a single run."""
        if len(self.runs) < 2:
            return {}
        values = {name: [run.figures[name] for run in self.runs] for name in FIGURES}
        return {name: (float(np.mean(each)), mean_interval(each, confidence)) for name, each in values.items()}


def pool_runs(results: Sequence[LoadResult]) -> list[LoadResult]:
    """Return one result per load, in the order of the loads. Repeated runs of a load are summed."""
    runs_of: dict[LoadLevel, list[LoadResult]] = {}
    for result in results:
        runs_of.setdefault(result.load, []).append(result)
    return [runs[0] if len(runs) == 1 else _sum_of(runs) for runs in runs_of.values()]


def _sum_of(runs: Sequence[LoadResult]) -> LoadResult:
    statistics = LoadStatistics.merged(run.statistics for run in runs)
    statistics.cpu = np.mean([run.statistics.cpu for run in runs], axis=0).tolist()  # for each generator
    counted = [Counter(run.batches) for run in runs if run.batches is not None]
    batches = dict(sorted(sum(counted, start=Counter()).items())) if len(counted) == len(runs) else None
    return LoadResult(
        runs[0].load,
        statistics,
        math.fsum(run.seconds for run in runs),
        next((run.early_end for run in runs if run.early_end), ""),
        batches or None,
        tuple(runs),
    )
