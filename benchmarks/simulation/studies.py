"""What one wants to know before there are several machines, each as a table."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.simulation.bottleneck import first_bottleneck
from benchmarks.simulation.cost_model import CostModel
from benchmarks.simulation.fleet import Fleet, FleetResult, Outage, rollout, simulate
from benchmarks.simulation.servers_on_a_core import Size
from benchmarks.simulation.shared_core import rate_of, requests_of

__all__ = ["STUDIES", "Setting", "Table"]

_SERVERS, _CLIENTS, _PROXIES = 10, 30, 2
_LOADS = (0.3, 0.5, 0.7, 0.9)
_LOAD = 0.6
_RATES = (1_000, 10_000, 100_000, 1_000_000)
_WARM = 0.25
"""Part of a simulated time that does not count: queues begin empty."""
_FULL = 0.98


@dataclass(frozen=True)
class Table:
    """What was found.

    Attributes:
        title: Heading of the table.
        head: Headings of the columns.
        rows: Cells of each row.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Setting:
    """What all studies have in common.

    Attributes:
        costs: Measured costs.
        size: Rows, least and most steps of a row, of the requests.
        most_requests: Number of requests of a simulated load, at most.
        proxies: Number of proxies; 0 for none.
        proxy_rate: Requests per second that one of them carries.
    """

    costs: CostModel
    size: Size
    most_requests: int = 200_000
    proxies: int = 0
    proxy_rate: float = 0.0

    @property
    def of_one(self) -> float:
        """Requests per second that use up a core, each in a run of its own."""
        return rate_of(self.costs, self.size, 1.0)

    def run(self, fleet: Fleet, rate: float, seconds: float = 0.0) -> FleetResult:
        """Simulate a load, as long as the number of requests allows, or so many seconds."""
        return simulate(fleet, self.costs, requests_of(self.size), rate, seconds or self.most_requests / rate, seed=3)


def _by_load(setting: Setting) -> Table:
    """Say the p99 by the way of balancing and the load."""
    rows = []
    for balancing in ("pick_first", "random", "round_robin", "least_request"):
        cells, full = [balancing], ""
        for load in _LOADS:
            rate = load * _SERVERS * setting.of_one
            found = setting.run(Fleet(_SERVERS, balancing, _senders(balancing, _CLIENTS)), rate)
            cells.append(_p99(found))
            if load == _LOADS[1]:
                full = _first(setting, found, rate)
        rows.append([*cells, full])
    heads = [f"{load:.0%}: {load * _SERVERS * setting.of_one:,.0f}/s" for load in _LOADS]
    title = f"p99 by load: {_SERVERS} servers; {_CLIENTS} clients, or {_PROXIES} proxies that go by least request"
    return Table(title, ["balancing", *heads, "full first"], rows)


def _by_reports(setting: Setting) -> Table:
    """Say the p99 where half of the servers have half of the speed, by how old reports of load are."""
    speeds = [1.0, 0.5] * (_SERVERS // 2)
    rate = _LOAD * sum(speeds) * setting.of_one
    seconds = setting.most_requests / rate
    ways = [("round_robin", 1.0), ("least_request", 1.0)]
    ways += [(name, period) for name in ("weighted_round_robin", "least_reported") for period in (0.1, 1.0, 5.0)]
    rows = []
    for balancing, period in ways:
        senders = _senders(balancing, _CLIENTS)
        found = setting.run(Fleet(_SERVERS, balancing, senders, speeds=speeds, report_s=period), rate)
        old = f"{period:g} s" if "weighted" in balancing or "reported" in balancing else ""
        since = min(max(_WARM * seconds, 2 * period), 0.75 * seconds)
        rows.append([balancing, old, _p99(found, since), f"{found.used.max():.0%}"])
    title = f"servers that are unlike: half of {_SERVERS} at half speed, {rate:,.0f}/s ({_LOAD:.0%})"
    return Table(title, ["balancing", "reports every", "p99", "busiest server"], rows)


def _by_failure(setting: Setting) -> Table:
    """Say the p99 while one of N, and of N + 1, servers is away."""
    rows = []
    for servers in (5, 6):
        rate = 0.8 * 5 * setting.of_one
        seconds = min(12.0, setting.most_requests / rate)
        at, until = seconds / 3, 2 * seconds / 3
        quiet = Outage(0, at, until, unnoticed=0.5 * (until - at))
        for what, outages in (
            ("none away", []),
            ("one killed", [Outage(0, at, until)]),
            ("one unreachable, unnoticed for half of the time", [quiet]),
            ("rollout, one at a time", rollout(servers, at, (until - at) / servers)),
        ):
            found = setting.run(Fleet(servers, clients=_CLIENTS, outages=outages), rate, seconds)
            during = (found.due >= at) & (found.due < until)
            only = dataclasses.replace(found, due=found.due[during], latency=found.latency[during])
            cells = [_ms(only.percentile(50)), _ms(only.percentile(99)), str(found.failed), str(found.sent_again)]
            rows.append([f"{servers} servers, {what}", *cells])
    title = f"one away for a third of the time, at {0.8 * 5 * setting.of_one:,.0f}/s: 5 servers are 80% busy, 6 are 67%"
    return Table(title, ["", "p50 then", "p99 then", "failed", "sent again"], rows)


def _by_rate(setting: Setting) -> Table:
    """Say the p99 up to a million requests a second, with as many servers as that takes."""
    rows = []
    for rate in _RATES:
        servers = -(-rate // (_LOAD * setting.of_one)) + 1
        for balancing in ("pick_first", "round_robin", "least_request"):
            found = setting.run(Fleet(int(servers), balancing, _senders(balancing, int(3 * servers))), rate)
            rows.append([
                f"{rate:,}/s", f"{servers:,.0f}", balancing, _p99(found, percent=50), _p99(found),
                _first(setting, found, rate), f"{found.seconds:.3g} s, {len(found.due):,} requests",
            ])  # fmt: skip
    title = f"to a million requests a second: servers {_LOAD:.0%} busy, and one more"
    return Table(title, ["rate", "servers", "balancing", "p50", "p99", "full first", "simulated"], rows)


STUDIES: dict[str, Callable[[Setting], Table]] = {
    "load": _by_load,
    "reports": _by_reports,
    "failures": _by_failure,
    "rate": _by_rate,
}
"""The studies by name."""


def _first(setting: Setting, found: FleetResult, rate: float) -> str:
    first = first_bottleneck(found, rate, setting.proxies, setting.proxy_rate)
    return f"{first.name}, at {first.full_at:,.0f}/s"


def _senders(balancing: str, clients: int) -> int:
    """Return how many choose, each for itself: proxies by what is under way through them, else clients."""
    return max(_PROXIES, clients // 150) if balancing == "least_request" else clients


def _p99(found: FleetResult, since: float = 0.0, percent: float = 99) -> str:
    """Return a percentile as text; where a server cannot keep up, there is none: it grows for as long as one looks."""
    if found.used.max() > _FULL:
        return "overload"
    return _ms(found.percentile(percent, since or _WARM * found.seconds))


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:,.1f} ms" if seconds < 1 else f"{seconds:,.1f} s"
