"""A whole load test: several load levels in turn, or the search for the highest rate that meets an objective."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from rnnserve.load.generator_processes import ProgressCallback
from rnnserve.load.latency_objective import LatencyObjective
from rnnserve.load.load_level import LoadLevel, LoadResult, Measurement
from rnnserve.load.progress import LoadProgress
from rnnserve.load.rate_search import find_highest_rate
from rnnserve.load.repetition import pool_runs
from rnnserve.load.server_inspector import ServerInspector
from rnnserve.load.server_usage import ServerUsage
from rnnserve.load.verdict import Decision, Verdict, judge

__all__ = ["LoadTest"]


class _LoadRunner(Protocol):
    """What produces load: `GeneratorProcesses`, or `GrowingGenerators`."""

    def run(self, load: LoadLevel, report_progress: ProgressCallback) -> Measurement:
        """Run one level."""


@dataclass
class LoadTest:
    """Runs load levels and keeps their results, also after an interruption.

    Attributes:
        generators: Produce the load.
        server: Reports the server's batch sizes before and after each level.
        models: Names of the models whose batches are counted.
        progress: Shows the progress to the user.
        objective: What a level has to meet; None to measure only.
        runs: How often each level is run.
        usage: Reads what the server has used of this machine; None where it does not run here.
        results: Results so far, in the order of the runs.
    """

    generators: _LoadRunner
    server: ServerInspector
    models: tuple[str, ...]
    progress: LoadProgress
    objective: LatencyObjective | None = None
    runs: int = 1
    usage: Callable[[], ServerUsage | None] | None = None
    results: list[LoadResult] = field(default_factory=list)

    def sweep(self, loads: Iterable[LoadLevel]) -> None:
        """Run each level; run all of them before any is repeated, so that a drift of the machine meets all alike."""
        levels = list(loads)
        for _ in range(self.runs):
            for load in levels:
                self.measure(load)

    def search(self, load: LoadLevel, objective: LatencyObjective) -> None:
        """Run levels of different rates, starting with this one, until the highest rate that holds is known."""

        def holds(rate: float) -> bool:
            results = [self.measure(replace(load, rate=rate)) for _ in range(self.runs)]
            (pooled,) = pool_runs(results)
            return judge(pooled, objective).decision is Decision.HELD

        find_highest_rate(holds, load.rate)

    def measure(self, load: LoadLevel) -> LoadResult:
        """Run one level."""
        self.progress.begin(load)
        before, used = self.server.count_batches(self.models), self._used()
        measured = self.generators.run(load, self.progress.update)
        uses, after = self._used(), self.server.count_batches(self.models)
        batches = None
        if before is not None and after is not None:
            after.subtract(before)
            # With several server processes, each counts its own batches, and the two answers may come from two
            # processes: then differences may be negative, and nothing is reported.
            if min(after.values(), default=0) >= 0:
                batches = {size: count for size, count in sorted(after.items()) if count}
        cores = memory = None
        if used is not None and uses is not None:
            cores = (uses.cpu_seconds - used.cpu_seconds) / (load.warmup + measured.seconds)
            memory = uses.memory_bytes
        result = LoadResult(
            load,
            measured.statistics,
            measured.seconds,
            batches or None,
            measured.look,
            server_cores=cores,
            server_memory=memory,
        )
        self.results.append(result)
        self.progress.end(result)
        return result

    def _used(self) -> ServerUsage | None:
        return None if self.usage is None else self.usage()

    @property
    def pooled(self) -> Sequence[LoadResult]:
        """One result for each load: of repeated runs, the sum."""
        return pool_runs(self.results)

    def verdict(self, result: LoadResult) -> Verdict | None:
        """Return what is said of the objective at one load; None if there is no objective."""
        return None if self.objective is None else judge(result, self.objective)

    @property
    def best(self) -> LoadResult | None:
        """The result of the largest load that holds the objective; of the largest load, if there is no objective."""
        holding = [
            result
            for result in self.pooled
            if (verdict := self.verdict(result)) is None or verdict.decision is Decision.HELD
        ]
        return max(holding, key=lambda result: result.load.size, default=None)

    @property
    def decision(self) -> Decision | None:
        """What is said of the objective by all loads; None if there is no objective.

        Held if one of them holds it, and undecided if one of them may hold it. Loads that sent nothing say nothing,
        unless none sent anything.
        """
        if self.objective is None:
            return None
        results = [result for result in self.pooled if result.statistics.sent] or self.pooled
        decisions = {judge(result, self.objective).decision for result in results}
        return next(
            decision for decision in (Decision.HELD, Decision.UNDECIDED, Decision.NOT_HELD) if decision in decisions
        )

    @property
    def passed(self) -> bool:
        """Whether all answers were right and, without an objective, no request failed or, with one, some load holds it.

        Failures above the rate that holds the objective are allowed: they are what a search looks for.
        """
        if any(result.statistics.faults for result in self.results):
            return False
        if self.objective is None:
            return not any(result.statistics.errors for result in self.results)
        return self.best is not None
