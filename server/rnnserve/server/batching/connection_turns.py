"""What waits, by connection: connections take turns, so that one with much of it delays the others little."""

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["ConnectionTurns"]

T = TypeVar("T")


class ConnectionTurns(Generic[T]):
    """Items that wait. For one thread at a time."""

    def __init__(self) -> None:
        """Start without any."""
        self._by_connection: dict[Hashable, deque[T]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, connection: Hashable, item: T) -> None:
        """Add an item after the others of its connection."""
        self._by_connection.setdefault(connection, deque()).append(item)
        self._count += 1

    def pop(self) -> T:
        """Take the first item of the connection whose turn it is.

        Raises:
            StopIteration: If there is none.
        """
        connection = next(iter(self._by_connection))
        items = self._by_connection.pop(connection)
        taken = items.popleft()
        if items:
            self._by_connection[connection] = items  # at the end: the next connection's turn
        self._count -= 1
        return taken
