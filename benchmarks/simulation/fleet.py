"""Servers under load: requests that come at a rate, are spread over servers, and are answered.

Each request is an event, and so is each run: nothing is averaged. So that a million requests a second can be simulated,
a time is as short as `most_requests` allows, and what was simulated is said.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import simpy

from benchmarks.simulation.balancing import Reports, make_balancing
from benchmarks.simulation.cost_model import CostModel
from benchmarks.simulation.simulated_server import Core, SimulatedRequest, SimulatedServer

__all__ = ["Fleet", "FleetResult", "Outage", "Requests", "rollout", "simulate"]

_BACKOFF_S, _JITTER, _ATTEMPTS = 0.02, 0.2, 4
"""gRPC's first pause before a lost request is sent again (`client.balancing`; it doubles), how much it varies, and how
often a request is sent."""


@dataclass(frozen=True)
class Outage:
    """A time in which a server is away.

    Attributes:
        server: Number of the server.
        at: Seconds from the start.
        until: Seconds from the start at which it is back.
        is_killed: Whether what it has in hand is lost, and sent again; else it answers that before it leaves.
        unnoticed: Seconds in which clients still send to it: none after a process ends, since the kernel says so; a
            machine that loses its network says nothing, and what is sent to it waits.
    """

    server: int
    at: float
    until: float
    is_killed: bool = True
    unnoticed: float = 0.0


@dataclass(frozen=True)
class Requests:
    """What is sent.

    Attributes:
        rows: Number of rows of a request.
        lengths: Numbers of steps of a row, equally frequent; each row has its own.
    """

    rows: int = 1
    lengths: Sequence[int] = (1,)


@dataclass(frozen=True)
class Fleet:
    """Servers and the way to them.

    Attributes:
        servers: Number of servers.
        balancing: Name of the way of balancing.
        clients: Number of connections of clients, or of proxies.
        servers_a_core: How many servers share a core; 1 for machines of their own.
        speeds: Ratio of each server's speed to the measured one's; empty where all are as that.
        report_s: Seconds between reports of load.
        joins: Whether requests share runs.
        outages: Times in which servers are away.
    """

    servers: int
    balancing: str = "round_robin"
    clients: int = 4
    servers_a_core: int = 1
    speeds: Sequence[float] = ()
    report_s: float = 1.0
    joins: bool = True
    outages: Sequence[Outage] = ()


@dataclass(frozen=True)
class FleetResult:
    """What was simulated.

    Attributes:
        due: (requests,) float64, when each was due, seconds.
        latency: (requests,) float64, seconds from when it was due until it was answered; NaN of those that failed.
        used: (servers,) float64, part of the time in which each has used its core.
        taken: (servers,) int64, number of requests that each was sent.
        seconds: Simulated seconds in which requests came.
        sent_again: How often a request was sent again.
    """

    due: npt.NDArray[np.float64]
    latency: npt.NDArray[np.float64]
    used: npt.NDArray[np.float64]
    taken: npt.NDArray[np.int64]
    seconds: float
    sent_again: int

    def percentile(self, percent: float, since: float = 0.0) -> float:
        """Return a percentile of the latency of requests that were due after a time, in seconds, by nearest rank."""
        chosen = self.latency[(self.due >= since) & ~np.isnan(self.latency)]
        return float(np.percentile(chosen, percent, method="inverted_cdf")) if len(chosen) else float("nan")

    @property
    def failed(self) -> int:
        """Number of requests that failed."""
        return int(np.isnan(self.latency).sum())


def rollout(servers: int, at: float, each_s: float, at_once: int = 1) -> list[Outage]:
    """Drain all servers, some at once, each away for so long before the next ones leave."""
    return [
        Outage(number, at + number // at_once * each_s, at + (number // at_once + 1) * each_s, is_killed=False)
        for number in range(servers)
    ]


def simulate(fleet: Fleet, costs: CostModel, requests: Requests, rate: float, seconds: float, seed: int) -> FleetResult:
    """Simulate a load.

    Args:
        fleet: The servers.
        costs: Seconds of what they do.
        requests: Kind of what is sent.
        rate: Requests per second, Poisson arrivals.
        seconds: Time in which requests come; all of them are answered after it.
        seed: Seed of all that is drawn.
    """
    return _Simulation(fleet, costs, requests, rate, seconds, seed).result()


class _Simulation:
    def __init__(
        self, fleet: Fleet, costs: CostModel, requests: Requests, rate: float, seconds: float, seed: int
    ) -> None:
        self._draw = np.random.default_rng(seed)
        count = int(self._draw.poisson(rate * seconds))
        self._due = np.sort(self._draw.uniform(0, seconds, count))  # (requests,): Poisson arrivals, given their number
        lengths = self._draw.choice(np.asarray(requests.lengths, np.int32), (count, requests.rows))  # (requests, rows)
        self._steps, self._points = lengths.max(axis=1, initial=0).tolist(), lengths.sum(axis=1).tolist()
        self._client_of = self._draw.integers(0, fleet.clients, count).tolist()
        self._away = self._draw.choice(np.asarray(costs.away), count)  # (requests,)
        self._latency = np.full(count, np.nan)
        self._rows, self._seconds, self._fleet = requests.rows, seconds, fleet
        self._sent = self._sent_again = 0
        self._server_of: dict[int, int] = {}
        self._lost = [0.0] * fleet.servers  # until when each is away unnoticed
        self._in_hand, self._taken = [0] * fleet.servers, [0] * fleet.servers
        self._environment = environment = simpy.Environment()
        cores = [None if fleet.servers_a_core == 1 else Core(environment, costs.slice) for _ in range(fleet.servers)]
        speeds = fleet.speeds or [1.0] * fleet.servers
        self._servers = [
            SimulatedServer(
                environment,
                costs,
                self._answer,
                cores[number // fleet.servers_a_core],
                speeds[number],
                joins=fleet.joins,
            )
            for number in range(fleet.servers)
        ]
        self._reports = Reports(fleet.servers)
        self._balancing = make_balancing(fleet.balancing, fleet.servers, fleet.clients, self._draw, self._reports)
        for outage in fleet.outages:
            environment.process(self._be_away(outage))
        if fleet.balancing in ("weighted_round_robin", "least_reported"):
            environment.process(self._report())
        environment.process(self._send())

    def result(self) -> FleetResult:
        """Run until all is answered."""
        self._environment.run(until=self._seconds)
        used = np.array([server.used_s for server in self._servers]) / self._seconds
        while self._server_of or self._sent < len(self._due):
            self._environment.step()
        latency, taken = self._latency + self._away, np.array(self._taken)
        return FleetResult(self._due, latency, used, taken, self._seconds, self._sent_again)

    def _send(self) -> Generator[simpy.Event, Any, None]:
        environment = self._environment
        for number, due in enumerate(self._due.tolist()):
            if due > environment.now:
                yield environment.timeout(due - environment.now)
            request = SimulatedRequest(
                number, self._client_of[number], self._rows, self._steps[number], self._points[number]
            )
            self._sent = number + 1
            self._submit(request)

    def _submit(self, request: SimulatedRequest) -> None:
        request.attempts += 1
        server = self._balancing.pick(request.client)
        self._server_of[request.number] = server
        self._in_hand[server] += 1
        self._taken[server] += 1
        if not self._servers[server].is_live:  # unnoticed: it waits until that is noticed
            self._environment.process(self._again(request, self._lost[server] - self._environment.now))
        else:
            self._servers[server].submit(request)

    def _answer(self, request: SimulatedRequest) -> None:
        self._leave(request)
        del self._server_of[request.number]
        self._latency[request.number] = self._environment.now - self._due[request.number]

    def _leave(self, request: SimulatedRequest) -> None:
        server = self._server_of[request.number]
        self._in_hand[server] -= 1
        self._balancing.answered(request.client, server)

    def _again(self, request: SimulatedRequest, unnoticed: float) -> Generator[simpy.Event, Any, None]:
        """Send a lost request again, or let it fail."""
        if unnoticed > 0:
            yield self._environment.timeout(unnoticed)
        self._leave(request)
        if request.attempts == _ATTEMPTS:
            del self._server_of[request.number]
            return
        self._sent_again += 1
        pause = _BACKOFF_S * 2 ** (request.attempts - 1) * self._draw.uniform(1 - _JITTER, 1 + _JITTER)
        yield self._environment.timeout(pause)
        self._submit(request)

    def _be_away(self, outage: Outage) -> Generator[simpy.Event, Any, None]:
        environment, server = self._environment, self._servers[outage.server]
        yield environment.timeout(outage.at)
        self._lost[outage.server] = environment.now + outage.unnoticed
        if outage.is_killed:
            for request in server.kill():
                environment.process(self._again(request, outage.unnoticed))
        else:
            server.drain()
        if outage.unnoticed:
            yield environment.timeout(outage.unnoticed)
        self._notice()
        yield environment.timeout(max(0.0, outage.until - environment.now))
        server.come_back()
        self._notice()

    def _notice(self) -> None:
        live = [number for number, server in enumerate(self._servers) if server.is_live]
        if live:
            self._balancing.change(live)

    def _report(self) -> Generator[simpy.Event, Any, None]:
        """Let servers report: each what it has done since the last time."""
        before = [(0, 0.0)] * self._fleet.servers
        while True:
            yield self._environment.timeout(self._fleet.report_s)
            for number, server in enumerate(self._servers):
                answered, busy = server.answered - before[number][0], server.busy_s - before[number][1]
                before[number] = server.answered, server.busy_s
                self._reports.weights[number] = answered / busy if answered and busy > 0 else 0.0
                self._reports.waiting[number] = self._in_hand[number]
            self._reports.number += 1
