"""How requests arrive: which thread reads the sockets, and when the fast path looks for more before it waits.

If few requests come, one soon after the other, the fast path's thread looks for the next one before it waits: to wake a
thread, and a core that sleeps, takes longer than to answer. That one thread reads the sockets of all queues is so with
epoll. With gRPC's other way, `poll`, each queue has sockets of its own, and both threads wait.

Figures: docs/lab/findings.md, "The fast path".
"""

import os
import sys
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from rnnserve.server.clock import now

__all__ = ["ArrivalPace"]

_FEW, _FEW_CONNECTIONS = 8, 2
"""Requests that arrive together, and connections that they come from, up to which these are few."""

_SOON_SECONDS = 500e-6
"""Seconds from one arrival to the next, within which it comes soon."""

_LOOK_SECONDS, _LOOK_INTERVALS = 150e-6, 1.5
"""For how long the thread looks for the next request, from the arrival of the last: seconds, at least, and times the
interval between the last two. If they come every 250 microseconds, to look for 150 of them would be in vain."""

_FEW_SECONDS, _MANY_SECONDS = 0.25, 0.05
"""Seconds after the last request, and after many requests, from which on grpcio's own thread waits as usual."""

_POLLING = "GRPC_POLL_STRATEGY"
"""The environment variable that chooses how gRPC polls; epoll if it is not set."""


class _Arrived(Protocol):
    def peer(self) -> str:
        """Name its connection."""


class ArrivalPace:
    """Notes arrivals, on the fast path's thread. Any thread may ask.

    Attributes:
        look_until: Until when the thread looks for the next request, in seconds on the clock of `clock`; 0 if it waits.
    """

    __slots__ = ("_connections", "_heard_at", "_heard_many_at", "_may_lead", "_may_look", "look_until")

    def __init__(self) -> None:
        """Start without any arrival."""
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

    def is_left_to_fast_path(self) -> bool:
        """Whether only the fast path's thread is to read: a few requests have come a short while ago."""
        at = now()
        return self._may_lead and at - self._heard_at < _FEW_SECONDS and at - self._heard_many_at > _MANY_SECONDS
