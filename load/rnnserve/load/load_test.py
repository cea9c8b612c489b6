"""A whole load test: several load levels in turn, or a search for the highest rate that meets an objective."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from rnnserve.load.confidence import CONFIDENCE
from rnnserve.load.generator_processes import GeneratorProcesses
from rnnserve.load.load_level import LatencyObjective, LoadLevel
from rnnserve.load.load_result import LoadResult, pool_runs
from rnnserve.load.progress import LoadProgress
from rnnserve.load.server_inspector import ServerInspector
from rnnserve.load.verdict import Decision, Verdict, judge

__all__ = ["LoadTest", "find_highest_rate"]

_PRECISION = 1.05
_LOWEST, _HIGHEST = 1.0, 1_000_000.0


@dataclass
class LoadTest:
    """Runs load levels and keeps their results, even after an interruption."""

    generators: GeneratorProcesses
    server: ServerInspector
    models: tuple[str, ...]  # the models whose batches are counted
    progress: LoadProgress
    objective: LatencyObjective | None = None
    runs: int = 1  # number of runs of each level
    results: list[LoadResult] = field(default_factory=list)  # in the order of the runs

    def sweep(self, loads: Iterable[LoadLevel]) -> None:
        """Run each level once, then all again for the next run, so that a drift in speed affects all levels."""
        levels = list(loads)
        for _ in range(self.runs):
            for load in levels:
                self.measure(load)

    def search(self, load: LoadLevel, objective: LatencyObjective) -> None:
        """Run levels at different rates, starting with this one, to find the highest rate that meets the objective."""

        def is_met(rate: float) -> bool:
            results = [self.measure(replace(load, rate=rate)) for _ in range(self.runs)]
            (pooled,) = pool_runs(results)
            return judge(pooled, objective).decision is Decision.MET

        find_highest_rate(is_met, load.rate)

    def measure(self, load: LoadLevel) -> LoadResult:
        """Run one level."""
        self.progress.begin(load)
        before = self.server.count_batches(self.models)
        measured = self.generators.run(load, self.objective, self.progress.update)
        after = self.server.count_batches(self.models)
        if before is not None and after is not None:
            after.subtract(before)
            # If a server has several processes, each counts its own batches, and the two calls may have reached two
            # processes. Then differences may be negative, and nothing is reported.
            if min(after.values(), default=0) >= 0:
                batches = {size: count for size, count in sorted(after.items()) if count}
                measured = replace(measured, batches=batches or None)
        self.results.append(measured)
        self.progress.end(measured)
        return measured

    @property
    def confidence(self) -> float:
        """The confidence of verdicts and intervals."""
        return CONFIDENCE if self.objective is None else self.objective.confidence

    @property
    def pooled(self) -> Sequence[LoadResult]:
        """One result per load. Repeated runs of a load are summed."""
        return pool_runs(self.results)

    def verdict(self, result: LoadResult) -> Verdict | None:
        """Return the verdict on the objective for one load, or None without an objective."""
        return None if self.objective is None else judge(result, self.objective)

    @property
    def best(self) -> LoadResult | None:
        """The result of the largest load that meets the objective. Without an objective, of the largest load."""
        meeting = [
            result
            for result in self.pooled
            if (verdict := self.verdict(result)) is None or verdict.decision is Decision.MET
        ]
        return max(meeting, key=lambda result: result.load.size, default=None)

    @property
    def decision(self) -> Decision | None:
        """The verdict over all loads, or None without an objective.

        It is "met" if any load meets the objective, else "inconclusive" if any load may meet it. Loads that sent no
        requests count only if no load sent any.
        """
        if self.objective is None:
            return None
        results = [result for result in self.pooled if result.statistics.sent] or self.pooled
        decisions = {judge(result, self.objective).decision for result in results}
        return next(each for each in (Decision.MET, Decision.INCONCLUSIVE, Decision.MISSED) if each in decisions)

    @property
    def passed(self) -> bool:
        """Whether the test passed: all answers were right, and a load met the objective.

        Without an objective, no request may have failed. With one, failures at higher rates are allowed, because a
        search needs them.
        """
        if any(result.statistics.different for result in self.results):
            return False
        if self.objective is None:
            return not any(result.statistics.errors for result in self.results)
        return self.best is not None


def find_highest_rate(passes: Callable[[float], bool], start: float, *, loads: int = 16) -> float | None:
    """Find the highest rate that passes: double the rate (or halve it, if the first rate fails), then bisect.

    The lowest failed rate is at most 5 % above the result, unless `loads` runs out first. Returns None if no rate
    passes.
    """
    passed: float | None = None
    failed: float | None = None
    rate = start
    for _ in range(loads):
        if passes(rate):
            passed = rate
        else:
            failed = rate
        if passed is not None and failed is not None:
            # The geometric mean, because the precision is a ratio of two rates.
            following = _rounded((passed * failed) ** 0.5)
            if failed <= passed * _PRECISION or not passed < following < failed:
                break
        else:
            following = _rounded(rate * 2 if failed is None else rate / 2)
            following = min(max(following, _LOWEST), _HIGHEST)
            if following == rate:
                break
        rate = following
    return passed


def _rounded(rate: float) -> float:
    """Round a rate to three significant digits, because no load is more exact."""
    return float(f"{rate:.3g}")
