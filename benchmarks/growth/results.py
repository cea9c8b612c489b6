"""What was measured of a size: the rounds at each point, and why a point has none."""

import dataclasses
import statistics

from benchmarks.growth.sizes import Size
from benchmarks.metrics import Metrics, Rounds, median_of_rounds
from benchmarks.server_names import FAST_PATH

__all__ = ["Growth"]


@dataclasses.dataclass
class Growth:
    """The measurement of a size.

    Attributes:
        size: The size.
        rounds: The rounds of the fast path and of the bound, by point and name.
        failures: Why a point was not measured, by point.
    """

    size: Size
    rounds: dict[int, dict[str, list[Metrics]]] = dataclasses.field(default_factory=dict)
    failures: dict[int, str] = dataclasses.field(default_factory=dict)

    def add(self, point: int, name: str, metrics: Metrics) -> None:
        """Add what a turn measured."""
        self.rounds.setdefault(point, {}).setdefault(name, []).append(metrics)

    def points(self) -> list[int]:
        """Return the points of which the fast path was measured, in rising order."""
        return sorted(point for point, rounds in self.rounds.items() if rounds.get(FAST_PATH))

    def median(self, point: int, name: str, metric: str) -> float | None:
        """Return the median of a metric over the rounds; None if it was not measured."""
        return median_of_rounds(self.rounds.get(point, {}), name, metric)

    def ratio(self, point: int, metric: str) -> float | None:
        """Return the fast path's cost divided by the bound's: the median of the ratios in each round."""
        rounds: Rounds = self.rounds.get(point, {})
        pairs = zip(rounds.get(FAST_PATH, ()), rounds.get(self.size.bound, ()), strict=False)
        ratios = [
            fast_path[metric] / bound[metric]
            for fast_path, bound in pairs
            if fast_path.get(metric) and bound.get(metric)
        ]
        return statistics.median(ratios) if ratios else None

    def curve(self, name: str, metric: str) -> list[tuple[float, float]]:
        """Return pairs of point and median, without points that were not measured."""
        pairs = [(point, self.median(point, name, metric)) for point in sorted(self.rounds)]
        return [(point, median) for point, median in pairs if median]
