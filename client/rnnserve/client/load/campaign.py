"""A whole test: loads one after the other, or the search for the rate that holds an objective."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

from rnnserve.client.load.discovery import Server
from rnnserve.client.load.judge import Objective
from rnnserve.client.load.plan import Load, Point
from rnnserve.client.load.processes import Watch
from rnnserve.client.load.progress import Progress
from rnnserve.client.load.samples import Tally
from rnnserve.client.load.search import highest_rate

__all__ = ["Campaign"]


class _Generators(Protocol):
    def run(self, load: Load, watch: Watch) -> tuple[Tally, float]:
        """Make a load."""


@dataclass
class Campaign:
    """Makes loads and keeps what came of them, also where it is interrupted.

    Attributes:
        fleet: Makes the loads.
        server: Is asked for batch sizes around each of them.
        models: Whose batches count.
        progress: Is told.
        objective: What a load has to hold; None where it only has to be measured.
        points: What has been measured, in order.
    """

    fleet: _Generators
    server: Server
    models: tuple[str, ...]
    progress: Progress
    objective: Objective | None = None
    points: list[Point] = field(default_factory=list)

    def sweep(self, loads: Iterable[Load]) -> None:
        """Make each load."""
        for load in loads:
            self.measure(load)

    def search(self, load: Load) -> None:
        """Make loads of ever other rates, from this one's on, until the highest that holds the objective is known."""
        highest_rate(lambda rate: self.holds(self.measure(replace(load, rate=rate))), load.rate)

    def measure(self, load: Load) -> Point:
        """Make one load."""
        self.progress.begin(load)
        before = self.server.batches(self.models)
        tally, seconds = self.fleet.run(load, self.progress.watch)
        after = self.server.batches(self.models)
        batches = None
        if before is not None and after is not None:
            after.subtract(before)
            # Where several processes serve, each counts for itself, and two answers may come from two of them.
            if min(after.values(), default=0) >= 0:
                batches = {size: count for size, count in sorted(after.items()) if count}
        point = Point(load, tally, seconds, batches or None)
        self.points.append(point)
        self.progress.end(point)
        return point

    def holds(self, point: Point) -> bool:
        """Whether a point holds the objective; any does where there is none."""
        return self.objective is None or not self.objective.broken(point)

    @property
    def best(self) -> Point | None:
        """The point of the largest load that holds the objective."""
        return max(filter(self.holds, self.points), key=lambda point: point.load.size, default=None)

    @property
    def passed(self) -> bool:
        """Whether the server passed: every label right, and no request failed or, with an objective, some load held it.

        Beyond the rate that holds an objective, failures are what a search looks for.
        """
        if any(point.tally.wrong for point in self.points):
            return False
        if self.objective is None:
            return not any(point.tally.errors for point in self.points)
        return self.best is not None
