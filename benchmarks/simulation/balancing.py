"""Which server gets a request: by connection, in turn, by reports, or by what is under way.

HTTP/2 sends all requests of a connection to the server at its other end. So a balancer of connections (L4: kube-proxy,
an NLB; or gRPC's pick_first) decides once a connection, and a client that has all servers' connections, or a proxy that
reads requests, decides for each request.
"""

import abc
import heapq
from collections.abc import Callable, Sequence

import numpy as np

__all__ = ["BALANCINGS", "Balancing", "Reports", "make_balancing"]


class Reports:
    """What servers have said of their load, last.

    Attributes:
        weights: Requests a second that each could answer (its rate divided by how busy that kept it), 0 before it has
            said any: gRFC A58.
        waiting: Number of requests that each had in hand.
        number: How often they have reported.
    """

    def __init__(self, servers: int) -> None:
        self.weights = [0.0] * servers
        self.waiting = [0] * servers
        self.number = 0


class Balancing(abc.ABC):
    """Chooses among the servers that live; each client of its own accord."""

    def __init__(self, servers: int, clients: int, draw: np.random.Generator, reports: Reports) -> None:
        """Start.

        Args:
            servers: Number of servers.
            clients: Number of clients' connections, or of proxies.
            draw: Source of chance.
            reports: Reports of the servers.
        """
        self.live = list(range(servers))
        self._clients, self._reports = clients, reports
        self._uniform = _Uniform(draw)

    @abc.abstractmethod
    def pick(self, client: int) -> int:
        """Choose the server of a client's next request."""

    def change(self, live: Sequence[int]) -> None:
        """Take notice of the servers that live now; at least one does."""
        self.live = list(live)

    def answered(self, client: int, server: int) -> None:  # noqa: B027 - few ways of balancing need it
        """Take notice that a request of a client is no longer under way."""


class _Uniform:
    """Draws of numbers from 0 to 1, many at a time: each call of numpy costs a microsecond."""

    def __init__(self, draw: np.random.Generator) -> None:
        self._draw, self._left = draw, list[float]()

    def below(self, number: int) -> int:
        """Draw a whole number below another."""
        if not self._left:
            self._left = self._draw.random(4096).tolist()
        return int(self._left.pop() * number)


class _Random(Balancing):
    """Any server for each request."""

    def pick(self, client: int) -> int:
        del client
        return self.live[self._uniform.below(len(self.live))]


class _PickFirst(Balancing):
    """One server for all requests of a connection, until that is lost; then another one, for good."""

    def __init__(self, servers: int, clients: int, draw: np.random.Generator, reports: Reports) -> None:
        super().__init__(servers, clients, draw, reports)
        self._of = [self._uniform.below(servers) for _ in range(clients)]

    def pick(self, client: int) -> int:
        return self._of[client]

    def change(self, live: Sequence[int]) -> None:
        super().change(live)
        alive = set(live)
        self._of = [at if at in alive else live[self._uniform.below(len(live))] for at in self._of]


class _RoundRobin(Balancing):
    """Every server in turn; each client begins anywhere."""

    def __init__(self, servers: int, clients: int, draw: np.random.Generator, reports: Reports) -> None:
        super().__init__(servers, clients, draw, reports)
        self._next = [self._uniform.below(servers) for _ in range(clients)]

    def pick(self, client: int) -> int:
        at = self._next[client] % len(self.live)
        self._next[client] = at + 1
        return self.live[at]


class _WeightedRoundRobin(Balancing):
    """Every server as often as its report says, the earliest deadline first; in turn before there are reports."""

    def __init__(self, servers: int, clients: int, draw: np.random.Generator, reports: Reports) -> None:
        super().__init__(servers, clients, draw, reports)
        self._heaps: list[list[tuple[float, int]]] = [[] for _ in range(clients)]
        self._seen = [-1] * clients
        self._periods: list[float] = []

    def pick(self, client: int) -> int:
        if self._seen[client] != self._reports.number:
            self._begin(client)
        heap = self._heaps[client]
        due, server = heap[0]
        heapq.heapreplace(heap, (due + self._periods[server], server))
        return server

    def change(self, live: Sequence[int]) -> None:
        super().change(live)
        self._seen = [-1] * self._clients

    def _begin(self, client: int) -> None:
        """Take the weights; a server without one has the mean of the others."""
        known = [self._reports.weights[at] for at in self.live if self._reports.weights[at] > 0]
        mean = sum(known) / len(known) if known else 1.0
        self._periods = [1 / (weight or mean) for weight in self._reports.weights]
        # Each begins somewhere within its first period, else all clients would begin with the same server.
        self._heaps[client] = [(self._periods[at] * (1 + self._uniform.below(1024)) / 1024, at) for at in self.live]
        heapq.heapify(self._heaps[client])
        self._seen[client] = self._reports.number


class _LeastRequest(Balancing):
    """Of two servers drawn, the one with fewer requests of this client or proxy under way: Envoy's least_request."""

    def __init__(self, servers: int, clients: int, draw: np.random.Generator, reports: Reports) -> None:
        super().__init__(servers, clients, draw, reports)
        self._under_way = [[0] * servers for _ in range(clients)]

    def pick(self, client: int) -> int:
        counts = self._under_way[client]
        first, second = (self.live[self._uniform.below(len(self.live))] for _ in range(2))
        chosen = second if counts[second] < counts[first] else first
        counts[chosen] += 1
        return chosen

    def answered(self, client: int, server: int) -> None:
        self._under_way[client][server] -= 1


class _LeastReported(Balancing):
    """The server that had the fewest requests in hand when it reported: all clients choose the same, until the next."""

    def pick(self, client: int) -> int:
        del client
        return min(self.live, key=self._reports.waiting.__getitem__)


_KINDS: dict[str, Callable[[int, int, np.random.Generator, Reports], Balancing]] = {
    "random": _Random,
    "pick_first": _PickFirst,
    "round_robin": _RoundRobin,
    "weighted_round_robin": _WeightedRoundRobin,
    "least_request": _LeastRequest,
    "least_reported": _LeastReported,
}

BALANCINGS = tuple(_KINDS)


def make_balancing(name: str, servers: int, clients: int, draw: np.random.Generator, reports: Reports) -> Balancing:
    """Make a way of balancing by its name, one of `BALANCINGS`."""
    return _KINDS[name](servers, clients, draw, reports)
