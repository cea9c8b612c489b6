"""Turns of receiving a message: so many calls at once, and connections in turn."""

import threading
from collections import deque

__all__ = ["ReceivingTurns"]


class ReceivingTurns:
    """A semaphore whose waiters are woken one of each connection in turn."""

    def __init__(self, turns: int) -> None:
        """Start with so many turns.

        Args:
            turns: How many may be taken at once.
        """
        self._lock = threading.Lock()
        self._free = turns
        self._waiting: dict[str, deque[threading.Event]] = {}  # by connection, the one whose turn it is first

    @property
    def free(self) -> int:
        """How many turns nothing has."""
        return self._free

    @property
    def are_waited_for(self) -> bool:
        """Whether something waits for a turn."""
        return bool(self._waiting)

    def take_at_once(self) -> bool:
        """Take a turn, if one is free."""
        with self._lock:
            if not self._free:
                return False
            self._free -= 1
            return True

    def take(self, connection: str) -> None:
        """Take a turn, and wait for it if none is free.

        Args:
            connection: Names the connection of what waits.
        """
        with self._lock:
            if self._free:
                self._free -= 1
                return
            comes = threading.Event()
            self._waiting.setdefault(connection, deque()).append(comes)
        comes.wait()

    def give_back(self, turns: int = 1) -> None:
        """Give turns back, or give more than there were."""
        with self._lock:
            for _ in range(turns):
                if not self._waiting:
                    self._free += 1
                    continue
                connection, waiting = next(iter(self._waiting.items()))
                del self._waiting[connection]
                waiting.popleft().set()
                if waiting:
                    self._waiting[connection] = waiting  # at the end: the next connection's turn
