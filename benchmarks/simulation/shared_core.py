"""Simulated servers that share one core, as the real ones of `servers_on_a_core` do."""

from benchmarks.simulation.cost_model import CostModel
from benchmarks.simulation.fleet import Fleet, FleetResult, Requests, simulate
from benchmarks.simulation.servers_on_a_core import Size

__all__ = [
    "CLIENTS",
    "ROWS",
    "SIMULATED",
    "core_seconds",
    "pace_of",
    "percentiles",
    "rate_of",
    "requests_of",
    "typical",
]

CLIENTS = 4
"""Connections of `rnnserve load`."""

SIMULATED = 100_000
"""Requests of each simulated load, so that chance is in the measured one."""

ROWS = 16
"""Rows of a typical request, before they are made more: of what other sizes are a part or a multiple of."""

_PACES = 3


def rate_of(costs: CostModel, size: Size, load: float) -> float:
    """Requests a second of which each has a run of its own that use so much of a core."""
    return round(load / costs.mean_seconds(*size), 1)


def requests_of(size: Size) -> Requests:
    """Return what `rnnserve load` sends of a size."""
    rows, shortest, longest = size
    return Requests(rows, range(shortest, longest + 1))


def typical(rows: int) -> Size:
    """The sizes of typical requests."""
    return rows, 1, 64


def percentiles(costs: CostModel, servers: int, size: Size, rate: float) -> tuple[float, float]:
    """Simulate servers; gives p50 and p99, in seconds."""
    found = _sharing(costs, servers, size, rate)
    return found.percentile(50), found.percentile(99)


def pace_of(costs: CostModel, servers: int, size: Size, rate: float, of_core: float) -> float:
    """How many times as long everything takes on a core of which a request took so many seconds."""
    pace = 1.0
    for _ in range(_PACES):  # where all is slower, more requests share runs, so that each takes less again
        pace *= of_core / core_seconds(costs.at_pace(pace), servers, size, rate)
    return pace


def core_seconds(costs: CostModel, servers: int, size: Size, rate: float) -> float:
    """Mean seconds of the core that a request takes as far as the costs say."""
    found = _sharing(costs, servers, size, rate)
    return float(found.used.sum()) * found.seconds / len(found.due)


def _sharing(costs: CostModel, servers: int, size: Size, rate: float) -> FleetResult:
    """Simulate servers that share a core, as the real ones do."""
    fleet = Fleet(servers, clients=CLIENTS, servers_a_core=servers)
    return simulate(fleet, costs, requests_of(size), rate, SIMULATED / rate, seed=2)
