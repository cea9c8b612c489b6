"""A whole load test: several load levels in turn, or the search for the highest rate that meets an objective."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

from rnnserve.client.load.generator_processes import ProgressCallback
from rnnserve.client.load.latency_objective import LatencyObjective
from rnnserve.client.load.load_level import LoadLevel, LoadResult
from rnnserve.client.load.load_statistics import LoadStatistics
from rnnserve.client.load.progress import LoadProgress
from rnnserve.client.load.rate_search import find_highest_rate
from rnnserve.client.load.server_inspector import ServerInspector

__all__ = ["LoadTest"]


class _LoadRunner(Protocol):
    """What produces load: `GeneratorProcesses`."""

    def run(self, load: LoadLevel, report_progress: ProgressCallback) -> tuple[LoadStatistics, float]:
        """Run one level; return its statistics and the measured seconds."""


@dataclass
class LoadTest:
    """Runs load levels and keeps their results, also after an interruption.

    Attributes:
        generators: Produce the load.
        server: Reports the server's batch sizes before and after each level.
        models: Names of the models whose batches are counted.
        progress: Shows the progress to the user.
        objective: What a level has to meet; None to measure only.
        results: Results so far, in the order of the levels.
    """

    generators: _LoadRunner
    server: ServerInspector
    models: tuple[str, ...]
    progress: LoadProgress
    objective: LatencyObjective | None = None
    results: list[LoadResult] = field(default_factory=list)

    def sweep(self, loads: Iterable[LoadLevel]) -> None:
        """Run each level."""
        for load in loads:
            self.measure(load)

    def search(self, load: LoadLevel) -> None:
        """Run levels of different rates, starting with this one, until the highest rate that passes is known."""
        find_highest_rate(lambda rate: self.meets_objective(self.measure(replace(load, rate=rate))), load.rate)

    def measure(self, load: LoadLevel) -> LoadResult:
        """Run one level."""
        self.progress.begin(load)
        before = self.server.count_batches(self.models)
        statistics, seconds = self.generators.run(load, self.progress.update)
        after = self.server.count_batches(self.models)
        batches = None
        if before is not None and after is not None:
            after.subtract(before)
            # With several server processes, each counts its own batches, and the two answers may come from two
            # processes: then differences may be negative, and nothing is reported.
            if min(after.values(), default=0) >= 0:
                batches = {size: count for size, count in sorted(after.items()) if count}
        result = LoadResult(load, statistics, seconds, batches or None)
        self.results.append(result)
        self.progress.end(result)
        return result

    def meets_objective(self, result: LoadResult) -> bool:
        """Return whether a result meets the objective; True if there is none."""
        return self.objective is None or not self.objective.violations(result)

    @property
    def best(self) -> LoadResult | None:
        """The result of the largest load that meets the objective."""
        return max(filter(self.meets_objective, self.results), key=lambda result: result.load.size, default=None)

    @property
    def passed(self) -> bool:
        """Whether all answers were right and, without an objective, no request failed or, with one, some load met it.

        Failures above the rate that meets the objective are allowed: they are what a search looks for.
        """
        if any(result.statistics.faults for result in self.results):
            return False
        if self.objective is None:
            return not any(result.statistics.errors for result in self.results)
        return self.best is not None
