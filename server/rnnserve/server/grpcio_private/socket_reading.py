"""Which thread reads the sockets, and when it looks for more before it waits.

gRPC's core reads sockets on one of the threads that wait for a completion queue. Where grpcio's own thread waits, too,
it is often the one that reads a request, and then has to wake the lane's thread: two wake-ups a request instead of one.
But what arrives while the lane runs a batch is read meanwhile. So grpcio's thread waits where many requests come; where
few do, it only looks at its queue now and then.

And where few requests come one soon after the other, the lane's thread looks for the next one before it waits: to wake
a thread, and a core that sleeps, takes longer than to answer.

That one thread reads the sockets of all queues is so with epoll. With gRPC's other way, `poll`, each queue has sockets
of its own, and both threads wait.

Figures: docs/lab/findings.md, "The lane".
"""

import os
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from rnnserve.server.clock import now

__all__ = ["LONG_AGO", "ArrivalPace", "use_serving_queue"]

_FEW, _FEW_CONNECTIONS = 8, 2
"""Requests that arrive together, and connections that they come from, up to which these are few."""

_SOON_SECONDS = 500e-6
"""Seconds from one arrival to the next, within which it comes soon."""

_LOOK_SECONDS, _LOOK_INTERVALS = 150e-6, 1.5
"""For how long the lane's thread looks for the next one, from the arrival of the last: seconds, at least, and times the
interval between the last two. Where they come every 250 microseconds, to look for 150 of them would be in vain."""

_FEW_SECONDS = 0.25
"""Seconds after the last request on the lane from which on grpcio's thread waits as usual."""

_MANY_SECONDS = 0.05
"""The same until when it does, after many requests have come."""

_OWN_SECONDS = 0.1
"""The same after an event of its own: a call has several, and only the first is late."""

_PAUSE_SECONDS = 0.01
"""Seconds between two looks of grpcio's thread: by so much a call of another method may be late."""

_WAIT_SECONDS = 0.2
"""Seconds of a wait, after which that thread decides again. grpcio's own waits are as long: it looks for signals."""

_POLLING = "GRPC_POLL_STRATEGY"
"""The environment variable that chooses gRPC's way to poll; epoll where it is not set."""

LONG_AGO = 1.0
"""A deadline in the past: `poll` answers at once, with an event or a time-out. `time.time()` costs a millisecond."""


class _Arrived(Protocol):
    def peer(self) -> str:
        """Name its connection."""


class ArrivalPace:
    """How requests arrive on the lane. Its thread notes them; any thread may ask.

    Attributes:
        look_until: Until when the lane's thread looks for the next request instead of waiting, in seconds on the clock
            of `clock`; 0 where it waits.
    """

    __slots__ = ("_connections", "_heard_at", "_heard_many_at", "_may_lead", "_may_look", "look_until")

    def __init__(self) -> None:
        """Start without any."""
        self._heard_at = self._heard_many_at = 0.0
        self._connections: deque[str] = deque(maxlen=_FEW_CONNECTIONS)
        self._may_lead = sys.platform.startswith("linux") and os.environ.get(_POLLING, "all") in ("all", "epoll1")
        # The client has to run meanwhile.
        self._may_look = hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) > 1
        self.look_until = 0.0

    def note(self, arrived: Sequence[_Arrived]) -> None:
        """Note requests that have arrived together, one at least."""
        at = now()
        before, self._heard_at = self._heard_at, at
        if len(arrived) > _FEW:
            self._heard_many_at = at
        elif (connection := arrived[0].peer()) not in self._connections:
            self._connections.append(connection)
            self._heard_many_at = at
        elif self._may_look and (interval := at - before) < _SOON_SECONDS:
            self.look_until = at + max(_LOOK_SECONDS, _LOOK_INTERVALS * interval)

    def is_left_to_lane(self) -> bool:
        """Whether only the lane's thread is to read: requests have come a short while ago, but not many."""
        at = now()
        return self._may_lead and at - self._heard_at < _FEW_SECONDS and at - self._heard_many_at > _MANY_SECONDS


def use_serving_queue(server: Any, cygrpc: Any, pace: ArrivalPace) -> object:  # noqa: ANN401 - grpcio's private parts
    """Give a server that has not been started another completion queue for grpcio's thread.

    Args:
        server: A `grpc.Server`.
        cygrpc: The module `grpc._cython.cygrpc`.
        pace: The pace, which says whether few requests come.

    Returns:
        The queue that it had, which is registered and unused.
    """
    timeout = cygrpc.CompletionType.queue_timeout

    class ServingQueue(cygrpc.CompletionQueue):  # type: ignore[misc] # untyped
        """A queue that its thread leaves alone while few requests come on the lane."""

        own_at = 0.0  # when its last event came, in seconds on the clock of `clock`

        def poll(self, deadline: float) -> Any:  # noqa: ANN401 - grpcio's own
            """Give the next event; or one of a time-out, at `deadline` in seconds since the epoch, or before."""
            while pace.is_left_to_lane() and now() - self.own_at > _OWN_SECONDS:
                event = super().poll(LONG_AGO)
                if event.completion_type != timeout:
                    self.own_at = now()
                    return event
                if time.time() >= deadline:
                    return event
                time.sleep(_PAUSE_SECONDS)
            event = super().poll(min(deadline, time.time() + _WAIT_SECONDS))
            if event.completion_type != timeout:
                self.own_at = now()
            return event

    state = server._state  # noqa: SLF001 - see `completion_queue`
    before: object = state.completion_queue
    queue = ServingQueue()
    state.server.register_completion_queue(queue)
    state.completion_queue = queue
    return before
