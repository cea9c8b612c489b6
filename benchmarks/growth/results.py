"""The measurements of a size: the rounds at each point, and the reason why a point has none."""

import dataclasses
import itertools
import math
import statistics

from benchmarks.growth.sizes import Size
from benchmarks.metrics import Metrics, Rounds, median_of_rounds, ratios_by_round
from benchmarks.report import format_metric
from benchmarks.server_names import FAST_PATH
from rnnserve.client.aligned_table import format_aligned_table


@dataclasses.dataclass
class Growth:
    """The measurement of a size.

    Attributes:
        size: The size.
        rounds: The rounds of the fast path and of the bound, by point and name.
        failures: The reason why a point was not measured, by point.
    """

    size: Size
    rounds: dict[int, dict[str, list[Metrics]]] = dataclasses.field(default_factory=dict)
    failures: dict[int, str] = dataclasses.field(default_factory=dict)

    def add(self, point: int, fast_path: Metrics, bound: Metrics) -> None:
        """Add the metrics of a turn of both."""
        rounds = self.rounds.setdefault(point, {FAST_PATH: [], self.size.bound: []})
        rounds[FAST_PATH].append(fast_path)
        rounds[self.size.bound].append(bound)

    def fail(self, point: int, reason: str) -> None:
        """Leave a point out, and discard its measurements."""
        self.rounds.pop(point, None)
        self.failures[point] = reason

    def median(self, point: int, name: str, metric: str) -> float | None:
        """Return the median of a metric over the rounds, or None if it was not measured."""
        return median_of_rounds(self.rounds.get(point, {}), name, metric)

    def lines(self) -> list[str]:
        """Return the table with its title, and a line for each point that was not measured."""
        count = max((len(point[FAST_PATH]) for point in self.rounds.values()), default=0)
        title = f"{self.size.title} ({self.size.name}; median of {count})"
        return [title, *([self._table()] if self.rounds else []), *self.failure_lines()]

    def failure_lines(self) -> list[str]:
        """Return a line with the reason for each point that was not measured."""
        return [f"NOT MEASURED {self.size.name} {point:,}: {why}" for point, why in sorted(self.failures.items())]

    def _table(self) -> str:
        points, bound = sorted(self.rounds), self.size.bound
        header, columns = [self.size.name], [[f"{point:,}" for point in points]]
        for metric in self.size.metrics:
            medians = [self.median(point, FAST_PATH, metric) for point in points]
            header += [metric, "^"]
            columns += [[format_metric(median) for median in medians], _powers(points, medians)]
            bounds = [self.median(point, bound, metric) for point in points]
            if any(median is not None for median in bounds):
                header += [bound, "x"]
                ratios = [self._ratio(self.rounds[point], metric) for point in points]
                columns += [[format_metric(median) for median in bounds], ratios]
        return format_aligned_table(header, [list(row) for row in zip(*columns, strict=True)], text_columns=())

    def _ratio(self, rounds: Rounds, metric: str) -> str:
        ratios = ratios_by_round(rounds, FAST_PATH, self.size.bound, metric)
        return f"{statistics.median(ratios):.2f}" if ratios else "-"


def _powers(points: list[int], costs: list[float | None]) -> list[str]:
    """Return the power of the size by which the cost grows from the previous point: the slope on logarithmic axes."""
    pairs = itertools.pairwise(zip(points, costs, strict=True))
    powers = [
        math.log(high / low) / math.log(end / start) if low and high else None for (start, low), (end, high) in pairs
    ]
    return ["", *("-" if power is None else f"{power:.1f}" for power in powers)]
