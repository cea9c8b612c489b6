"""Whose message is received next: a few at once, fewer after large ones, and connections take turns."""

import threading

from rnnserve.server.clock import now
from rnnserve.server.connections.byte_budget import SMALL
from rnnserve.server.connections.connection_turns import ConnectionTurns

__all__ = ["ReceivingTurns"]

_AT_ONCE = 8
"""Messages that are received at once: nobody has counted their bytes yet, which may be 16 MB each."""

_AT_ONCE_AFTER_LARGE = 2
"""The same after a large message, and one more for each small one. grpcio makes Python's bytes of all messages on one
thread, which has no time for calls that arrive meanwhile: 30 ms for 16 MB."""

_LATE_SECONDS = 0.15
"""Seconds in which no message arrives, after which more are received beside those that do not arrive."""


class ReceivingTurns:
    """Turns that threads take. Any thread may use it.

    Attributes:
        received_at: When the last message has been received, in seconds on the clock of `batching.clock`.
    """

    def __init__(self) -> None:
        """Start with all turns free."""
        self._most = _AT_ONCE
        self._taken = 0
        self._late = 0  # of those: others have their turns beside them
        self._changed_at = self.received_at = 0.0
        self._waiting: ConnectionTurns[threading.Lock] = ConnectionTurns()
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """How many threads wait for a turn."""
        return len(self._waiting)

    def take_free(self) -> bool:
        """Take a turn if one is free, without a wait; return whether one was."""
        with self._lock:
            is_free = self._taken - self._late < self._most
            self._taken += is_free
        return is_free

    def wait(self, connection: str) -> None:
        """Take a turn, after those of the connection that wait already."""
        mine = threading.Lock()
        mine.acquire()  # released by who gives it its turn
        with self._lock:
            if not self._waiting:
                self._changed_at = now()  # before, none had to arrive
            self._waiting.add(connection, mine)
            self._let_next()
        mine.acquire()

    def give_back(self, size: int) -> None:
        """Give a turn back, after a message of `size` bytes, 0 for none."""
        with self._lock:
            self._most = _AT_ONCE_AFTER_LARGE if size > SMALL else min(self._most + 1, _AT_ONCE)
            self._taken -= 1
            self._late = min(self._late, self._taken)
            self._changed_at = now()
            if size:
                self.received_at = self._changed_at
            self._let_next()

    def pass_late(self) -> None:
        """Let as many others take turns beside those whose messages do not arrive. To be called again and again."""
        with self._lock:
            if not self._waiting or now() < self._changed_at + _LATE_SECONDS:
                return
            self._changed_at = now()
            self._late = self._taken
            self._most = min(2 * self._most, _AT_ONCE)  # no large one has arrived of late, either
            self._let_next()

    def _let_next(self) -> None:
        while self._waiting and self._taken - self._late < self._most:
            self._taken += 1
            self._waiting.pop().release()
