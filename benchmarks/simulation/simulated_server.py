"""One server: its queue, its runs, and the core that it runs on, which it may share.

The queue and the grouping of requests into runs are the server's own code, `batching.waiting_queue` and
`batching.planning`; only the time of a run is the cost model's.
"""

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import simpy

from benchmarks.simulation.cost_model import CostModel
from rnnserve.server.batching.planning import plan_lengths
from rnnserve.server.batching.waiting_queue import QueueLimits, WaitingQueue

__all__ = ["Core", "SimulatedRequest", "SimulatedServer"]

_SHORT_RUN_SECONDS = 10e-3
"""How long a batch may take on the fast path's own thread: `fast_path.dispatcher`."""

_NO_LIMITS = QueueLimits(2**31, math.inf)
"""Nothing is refused here, so that overload shows as time."""


@dataclass(slots=True, eq=False)
class SimulatedRequest:
    """A request.

    Attributes:
        number: Position in the order in which requests are due.
        client: Number of the client's connection, or of the proxy's.
        rows: Number of its rows.
        steps: Number of steps of its longest row.
        points: Number of steps of all of its rows.
        attempts: How often it has been sent.
    """

    number: int
    client: int
    rows: int
    steps: int
    points: int
    attempts: int = 0

    @property
    def connection(self) -> str:
        """Names its connection."""
        return str(self.client)

    deadline = math.inf


class Core:
    """A core that servers share: each runs for a slice, and then the next that waits has its turn."""

    def __init__(self, environment: simpy.Environment, slice_s: float) -> None:
        self._environment = environment
        self._turn = simpy.Resource(environment)
        self._slice = slice_s

    def use(self, seconds: float) -> Generator[simpy.Event, Any, None]:
        """Use it for so long, with others in turn."""
        while seconds > 1e-12:
            with self._turn.request() as turn:
                yield turn
                now = min(seconds, self._slice)
                yield self._environment.timeout(now)
            seconds -= now


class SimulatedServer:
    """A server.

    Attributes:
        is_live: Whether it takes requests.
        busy_s: Seconds in which it has run something, waits for a shared core included.
        used_s: Seconds of a core that it has used.
        answered: Number of requests that it has answered.
    """

    def __init__(
        self,
        environment: simpy.Environment,
        costs: CostModel,
        answer: Callable[[SimulatedRequest], None],
        core: Core | None = None,
        speed: float = 1.0,
        *,
        joins: bool = True,
    ) -> None:
        """Start it.

        Args:
            environment: Clock and events.
            costs: Seconds of what it does.
            answer: Function that takes each request when it is answered.
            core: The core that it shares with others; None for one of its own.
            speed: Ratio of its speed to that of the measured server.
            joins: Whether requests share runs.
        """
        self.is_live = True
        self.busy_s = self.used_s = 0.0
        self.answered = 0
        self._environment, self._costs, self._answer = environment, costs, answer
        self._core, self._speed, self._joins = core, speed, joins
        self._queue: WaitingQueue[SimulatedRequest] = WaitingQueue(_NO_LIMITS)
        self._in_hand: list[SimulatedRequest] = []
        self._wake = environment.event()
        self._process = environment.process(self._serve())

    def submit(self, request: SimulatedRequest) -> None:
        """Take a request."""
        self._queue.add(request)
        if not self._wake.triggered:
            self._wake.succeed()

    def kill(self) -> list[SimulatedRequest]:
        """End it; gives the requests that it has lost."""
        self.is_live = False
        lost = [*self._in_hand, *self._queue.take_rows(1 << 62)]
        self._process.interrupt()
        return lost

    def drain(self) -> None:
        """Let it take no more, and answer what it has."""
        self.is_live = False

    def come_back(self) -> None:
        """Let it take requests again, a new one where it was killed."""
        self.is_live = True
        if not self._process.is_alive:
            self._in_hand, self._wake = [], self._environment.event()
            self._process = self._environment.process(self._serve())

    def _serve(self) -> Generator[simpy.Event, Any, None]:
        try:
            while True:
                if not self._queue:
                    self._wake = self._environment.event()
                    yield self._wake
                self._in_hand = taken = self._take()
                for group in self._groups(taken):
                    yield from self._run(group)
        except simpy.Interrupt:
            return

    def _take(self) -> list[SimulatedRequest]:
        if not self._joins:
            return self._queue.take_rows(1)
        cost = self._costs.cost
        return self._queue.take(cost, cost.points_within(_SHORT_RUN_SECONDS))

    def _groups(self, taken: Sequence[SimulatedRequest]) -> list[list[SimulatedRequest]]:
        if len(taken) == 1:
            return [[*taken]]
        steps, rows = [one.steps for one in taken], [one.rows for one in taken]
        return [[taken[at] for at in group] for group in plan_lengths(steps, rows, self._costs.cost)]

    def _run(self, group: list[SimulatedRequest]) -> Generator[simpy.Event, Any, None]:
        rows, points = sum([one.rows for one in group]), sum([one.points for one in group])
        costs = self._costs
        seconds = costs.run_seconds(rows, max([one.steps for one in group]), points)
        seconds = (seconds + sum([costs.beside_seconds(one.rows, one.steps) for one in group])) / self._speed
        began = self._environment.now
        if self._core is None:
            yield self._environment.timeout(seconds)
        else:
            seconds *= costs.shared
            yield from self._core.use(seconds)
        self.busy_s += self._environment.now - began
        self.used_s += seconds
        self.answered += len(group)
        for one in group:
            self._answer(one)
        self._in_hand = [one for one in self._in_hand if one not in group] if len(group) < len(self._in_hand) else []
