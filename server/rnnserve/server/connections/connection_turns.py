"""What waits, by connection: connections take turns, so that one with much of it delays the others little.

And where something has to give way, it is of the connection that has the most.
"""

from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from rnnserve.server.connections.connection_counts import ConnectionCounts

__all__ = ["ConnectionTurns"]

T = TypeVar("T")

_LOOKED_AT = 8
"""Newest items of a connection among which one is looked for that may give way."""


class ConnectionTurns(Generic[T]):
    """Items that wait. For one thread at a time."""

    __slots__ = ("_by_connection", "_count", "_counts")

    def __init__(self) -> None:
        """Start without any."""
        self._by_connection: dict[Hashable, deque[T]] = {}
        self._count = 0
        self._counts: ConnectionCounts | None = None  # from the first time that they matter until nothing waits

    def __len__(self) -> int:
        return self._count

    @property
    def connections(self) -> int:
        """How many connections have items."""
        return len(self._by_connection)

    def count_of(self, connection: Hashable) -> int:
        """How many of one connection there are."""
        return len(self._by_connection.get(connection, ()))

    def add(self, connection: Hashable, item: T) -> None:
        """Add an item after the others of its connection."""
        items = self._by_connection.get(connection)
        if items is None:
            items = self._by_connection[connection] = deque()
        items.append(item)
        self._count += 1
        if self._counts is not None:
            self._counts.change(connection)

    def pop(self, may: Callable[[Hashable], bool] | None = None) -> T:
        """Take the first item of the connection whose turn it is.

        Args:
            may: Whether a connection may have its turn; None where each may.

        Raises:
            StopIteration: If there is none.
        """
        connection = next(iter(self._by_connection) if may is None else filter(may, self._by_connection))
        items = self._by_connection.pop(connection)
        taken = items.popleft()
        if items:
            self._by_connection[connection] = items  # at the end: the next connection's turn
        self._count -= 1
        if self._counts is not None:
            self._is_taken(connection)
        return taken

    def displace(self, connection: Hashable, may: Callable[[T], bool] | None = None) -> T | None:
        """Take out one of the newest items of the connection with the most, in favour of another connection's.

        Args:
            connection: Of the item that is to come in its place.
            may: Whether an item may give way; None where each may.

        Returns:
            The item; None where no connection would have more than this one then, or where none of the newest may.
        """
        fullest = self._fullest()
        if fullest is None or self.count_of(fullest) <= self.count_of(connection) + 1:
            return None
        items = self._by_connection[fullest]
        for at in range(1, min(len(items), _LOOKED_AT) + 1):
            item = items[-at]
            if may is None or may(item):
                del items[-at]
                self._count -= 1
                self._is_taken(fullest)
                return item
        return None

    def _fullest(self) -> Hashable | None:
        """A connection with the most items; None where there is none."""
        if self._counts is None:
            self._counts = ConnectionCounts()
            for connection, items in self._by_connection.items():
                self._counts.change(connection, len(items))
        return self._counts.fullest()

    def _is_taken(self, connection: Hashable) -> None:
        """Count one less of a connection, or none any more where nothing waits."""
        if not self._count:
            self._counts = None
        elif self._counts is not None:
            self._counts.change(connection, -1)
