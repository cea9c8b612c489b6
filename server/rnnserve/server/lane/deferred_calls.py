"""Calls whose messages are received later, since as many are being received as may: connections take turns."""

from collections import deque
from typing import Any

__all__ = ["DeferredCalls"]


class DeferredCalls:
    """Calls that have arrived, by connection. For one thread, the lane's."""

    def __init__(self) -> None:
        """Start without any."""
        self._by_connection: dict[bytes, deque[tuple[Any, float]]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, call: Any, deadline: float) -> None:  # noqa: ANN401 - grpcio's own
        """Add a call after the others of its connection.

        Args:
            call: As grpcio's core gives it.
            deadline: In seconds on the clock of `batching.clock`.
        """
        self._by_connection.setdefault(call.peer(), deque()).append((call, deadline))
        self._count += 1

    def pop(self) -> tuple[Any, float]:
        """Take the first call, with its deadline, of the connection whose turn it is."""
        connection = next(iter(self._by_connection))
        calls = self._by_connection.pop(connection)
        taken = calls.popleft()
        if calls:
            self._by_connection[connection] = calls  # at the end: the next connection's turn
        self._count -= 1
        return taken
