"""Whose message is received next on the public transport: its threads wait for their turns in the `ReceiveWindow`."""

import threading
from collections.abc import Callable

from rnnserve.server.clock import now
from rnnserve.server.connections.receive_window import ReceiveWindow

__all__ = ["ReceivingTurns"]

_AT_ONCE, _AT_ONCE_AFTER_LARGE = 8, 2
"""Messages that are received at once, and after a large one. grpcio makes Python's bytes of all messages on one thread,
which has no time for calls that arrive meanwhile: 30 ms for 16 MB."""

_LATE_SECONDS = 0.15
"""Seconds in which no message arrives, after which more are received beside those that do not arrive."""


class _Waiter:
    """A thread that waits for its turn."""

    __slots__ = ("_connection", "turn")

    def __init__(self, connection: str) -> None:
        self._connection = connection
        self.turn = threading.Lock()
        self.turn.acquire()  # released by the thread that gives it its turn

    def peer(self) -> str:
        """Name its connection."""
        return self._connection


class ReceivingTurns:
    """Turns that threads take. Any thread may use it.

    Attributes:
        received_at: When the last message has been received, in seconds on the clock.
    """

    def __init__(self, clock: Callable[[], float] = now) -> None:
        """Start with all turns free.

        Args:
            clock: Clock, in seconds.
        """
        self._window: ReceiveWindow[_Waiter] = ReceiveWindow(_AT_ONCE, _AT_ONCE_AFTER_LARGE, _LATE_SECONDS, clock=clock)
        self._clock = clock
        self.received_at = 0.0
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """How many threads wait for a turn."""
        return self._window.waiting

    def bound(self, at_most: int | None) -> None:
        """Give no more turns at once from now on, and one after a large message; None for as many as at first."""
        with self._lock:
            self._window.bound(at_most)

    def take_free(self) -> bool:
        """Take a turn if one is free, without a wait; return whether one was."""
        window = self._window
        with self._lock:
            is_free = window.taken < window.limit
            window.taken += is_free
        return is_free

    def wait(self, connection: str) -> None:
        """Take a turn, after those of the connection that wait already."""
        waiter = _Waiter(connection)
        with self._lock:
            self._window.wait(waiter)
            self._let(self._window.next())
        waiter.turn.acquire()

    def give_back(self, size: int) -> None:
        """Give a turn back, after a message of `size` bytes, 0 for none."""
        with self._lock:
            if size:
                self.received_at = self._clock()
            self._let(self._window.give_back(size) or self._window.next())

    def pass_late(self) -> None:
        """Let as many others take turns beside those whose messages do not arrive. To be called again and again."""
        with self._lock:
            self._window.pass_late()
            self._let(self._window.next())

    def _let(self, waiter: _Waiter | None) -> None:
        """Give a thread its turn, and others as long as turns are free."""
        while waiter is not None:
            waiter.turn.release()
            waiter = self._window.next()
