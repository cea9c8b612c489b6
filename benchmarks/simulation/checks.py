"""Loads that nothing was fitted to: sent to real servers that share a core, and simulated.

Where a core is shared with machines that nobody here sees, the same work takes 1.5 times as much of it a minute later,
and 60 % of what it could do becomes 90 %. So the pace is measured before, which decides the rate, and in the run
itself: from the seconds of the core that a request took, and from no latency. A load whose pace was another one
meanwhile is not the load that was meant, and is measured again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.server_processes import ServerProcess
from benchmarks.simulation.cost_model import CostModel
from benchmarks.simulation.servers_on_a_core import Seconds, ServersOnACore, Size
from benchmarks.simulation.shared_core import ROWS, pace_of, percentiles, rate_of

__all__ = ["Check", "check"]

_CHECKS: tuple[tuple[int, float, Size], ...] = (
    (1, 0.6, (16, 1, 64)),
    (2, 0.5, (32, 1, 32)),
    (3, 0.5, (16, 1, 64)),
    (3, 0.7, (16, 1, 64)),
    (3, 0.6, (8, 16, 64)),
)
"""Servers, load of the core, and requests of the loads that nothing was fitted to."""

_STEADY, _TRIES = 0.1, 4
"""How far the paces before and in a run may be apart, and how often a load is measured, at most."""


@dataclass(frozen=True)
class Check:
    """One load, measured and simulated; latencies are in seconds.

    Attributes:
        servers: Number of servers.
        size: Rows, least and most steps of a row.
        load: Part of its core that the servers would use without sharing runs.
        rate: Requests per second.
        measured: p50 and p99 of the run with the least p99.
        spread: Least and greatest p99 of the runs.
        simulated: p50 and p99.
        requests: Number of measured requests.
        paces: How many times as much of its core a request took as the costs say, before the runs, which decided the
            rate, and in the run that counts.
        tried: How often the load was measured: more than once where these were apart.
    """

    servers: int
    size: Size
    load: float
    rate: float
    measured: tuple[float, float]
    spread: tuple[float, float]
    simulated: tuple[float, float]
    requests: int
    paces: tuple[float, float]
    tried: int

    @property
    def error(self) -> float:
        """How far the simulated p99 is off, as a part of the measured one."""
        return self.simulated[1] / self.measured[1] - 1


def check(repository: Path, costs: CostModel, folder: Path, seconds: Seconds) -> Iterator[Check]:
    """Measure loads that nothing was fitted to, and simulate them."""
    bench = ServersOnACore(repository, costs.facts["model"], folder)
    for count, load, (rows, shortest, longest) in _CHECKS:
        size = rows * costs.rows // ROWS, shortest, longest
        with bench.servers(count) as servers:
            yield _checked(bench, servers, costs, load, size, seconds)


def _checked(
    bench: ServersOnACore, servers: Sequence[ServerProcess], costs: CostModel, load: float, size: Size, seconds: Seconds
) -> Check:
    count, usual = len(servers), rate_of(costs, size, load)
    tried, is_steady = 0, False
    while not is_steady and tried < _TRIES:
        tried += 1
        before = bench.loads_at(servers, size, replace(seconds, runs=1), usual)[0]
        expected = pace_of(costs, count, size, usual, before.of_core)
        rate = round(usual / expected, 1)
        runs = bench.loads_at(servers, size, seconds, rate)
        quietest = runs[0]
        pace = pace_of(costs, count, size, rate, quietest.of_core)
        is_steady = abs(pace / expected - 1) <= _STEADY
    simulated = percentiles(costs.at_pace(pace), count, size, rate)
    measured, spread = (quietest.p50, quietest.p99), (quietest.p99, runs[-1].p99)
    return Check(count, size, load, rate, measured, spread, simulated, quietest.requests, (expected, pace), tried)
