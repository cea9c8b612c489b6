"""All open connections: which of them wait for their client, since when, and which have waited too long.

A look at all connections each second costs less than a timer that is set and cancelled for each request. Where another
connection is opened than there may be, the one whose client has been waited for longest is ended: a crowd of clients
that send nothing, or little, or read nothing, keeps none out that sends requests.
"""

import asyncio
from typing import Protocol

from rnnserve.common.gateway_counts import used_gateway_counts
from rnnserve.web.http1.limits import HttpLimits

__all__ = ["ConnectionTable", "WaitingConnection"]

_LOOK_SECONDS = 0.5


class WaitingConnection(Protocol):
    """A connection, as far as it may be ended."""

    def is_late(self, now: float, /) -> bool:
        """Whether its client has been waited for too long."""

    def end_late(self) -> None:
        """End it because of that."""

    def give_way(self) -> None:
        """End it for the sake of another."""


class ConnectionTable:
    """The open connections of a process.

    Attributes:
        limits: Bounds of each, and of all.
        held: Bytes that they hold together, apart from requests that are answered.
        is_ending: Whether the process ends: then each answer closes its connection.
    """

    def __init__(self, limits: HttpLimits) -> None:
        """Begin without any."""
        self.limits = limits
        self._open: set[WaitingConnection] = set()
        self._waiting: dict[WaitingConnection, None] = {}  # the longest first
        self._holding: dict[WaitingConnection, int] = {}  # bytes; what has held some for longest comes first
        self.held = 0
        self.is_ending = False
        self._looks = False

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: WaitingConnection, loop: asyncio.AbstractEventLoop) -> bool:
        """Take a new connection, whose client is waited for; False where there are too many that are not."""
        if len(self._open) >= self.limits.max_connections:
            longest = next(iter(self._waiting), None)
            if longest is None:
                used_gateway_counts().count_end("too_many")
                return False
            self.remove(longest)
            used_gateway_counts().count_end("gave_way")
            longest.give_way()
        self._open.add(connection)
        self._waiting[connection] = None
        if not self._looks:
            self._looks = True
            loop.call_later(_LOOK_SECONDS, self._look, loop)
        return True

    def wait(self, connection: WaitingConnection) -> None:
        """Note that its client is waited for, from now on."""
        self._waiting.pop(connection, None)
        self._waiting[connection] = None

    def work(self, connection: WaitingConnection) -> None:
        """Note that a request of it is in hand, for which the client waits."""
        self._waiting.pop(connection, None)

    def hold(self, connection: WaitingConnection, size: int) -> None:
        """Note how many bytes it holds, 0 for none. Where all hold too many, those that do so for longest are ended."""
        self.held += size - self._holding.get(connection, 0)
        if size:
            self._holding[connection] = size
        else:
            self._holding.pop(connection, None)
        while self.held > self.limits.max_held_bytes:
            longest = next(iter(self._holding))
            self.remove(longest)
            longest.give_way()

    def remove(self, connection: WaitingConnection) -> None:
        """Note that it has ended, or is about to."""
        self._open.discard(connection)
        self._waiting.pop(connection, None)
        self.held -= self._holding.pop(connection, 0)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in [each for each in self._open if each.is_late(now)]:
            self.remove(connection)
            used_gateway_counts().count_end("late")
            connection.end_late()
        self._looks = bool(self._open)
        if self._looks:
            loop.call_later(_LOOK_SECONDS, self._look, loop)
