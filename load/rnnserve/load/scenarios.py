"""The four scenarios of MLPerf LoadGen, as loads of this generator.

    single-stream   the next request of one row follows the answer to the last one; its figure is the p90
    multi-stream    the same with requests of eight rows; its figure is the p99
    server          requests of one row arrive like those of independent users, at a rate; its figure is the highest
                    rate that meets an objective
    offline         all rows are there at once, and only their number per second counts

Differences from LoadGen: a duration, not a number of samples, ends a load; and offline keeps requests in flight instead
of sending one query with all samples, which no message over gRPC would hold.
"""

from dataclasses import dataclass

__all__ = ["SCENARIOS", "Scenario"]


@dataclass(frozen=True)
class Scenario:
    """A named load.

    Attributes:
        closed: Requests in flight; 0 for arrivals at a rate.
        batch: Rows of a request.
        percent: The percentile that is the scenario's figure; None if it is another one.
    """

    closed: int
    batch: int
    percent: float | None


SCENARIOS = {
    "single-stream": Scenario(closed=1, batch=1, percent=90.0),
    "multi-stream": Scenario(closed=1, batch=8, percent=99.0),
    "server": Scenario(closed=0, batch=1, percent=None),
    "offline": Scenario(closed=64, batch=32, percent=None),
}
