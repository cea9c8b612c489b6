"""What waits, by connection: connections take turns, so that one with much of it delays the others little.

Where something has to give way, it is of the connection that has the most. And while little waits, nothing need be
grouped by connection: it is taken in the order of its arrival.
"""

import itertools
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

from rnnserve.server.connections.connection_counts import ConnectionCounts

__all__ = ["ConnectionTurns"]

T = TypeVar("T")

_LOOKED_AT = 8
"""Newest items of a connection among which one is looked for that may give way."""


class ConnectionTurns(Generic[T]):
    """Items that wait. For one thread at a time.

    Attributes:
        ungrouped: Items that are taken before all others, in the order of their arrival. Users append to it: of few
            items, the connections need not be told, and each call costs a request of the lane.
        grouped: How many other items there are: of these, connections take turns.
    """

    __slots__ = ("_by_connection", "_counts", "grouped", "ungrouped")

    def __init__(self) -> None:
        """Start without any."""
        self.ungrouped: deque[T] = deque()
        self._by_connection: dict[Hashable, deque[T]] = {}
        self.grouped = 0
        self._counts: ConnectionCounts | None = None  # from the first time that they matter until nothing waits

    def __len__(self) -> int:
        return self.grouped + len(self.ungrouped)

    def __iter__(self) -> Iterator[T]:
        return itertools.chain(self.ungrouped, *self._by_connection.values())

    @property
    def connections(self) -> int:
        """How many connections have grouped items."""
        return len(self._by_connection)

    def count_of(self, connection: Hashable) -> int:
        """How many of one connection there are among the grouped."""
        return len(self._by_connection.get(connection, ()))

    def counts(self) -> dict[Hashable, int]:
        """How many of each connection there are among the grouped."""
        return {connection: len(items) for connection, items in self._by_connection.items()}

    def add(self, connection: Hashable, item: T) -> None:
        """Add an item after the others of its connection."""
        items = self._by_connection.get(connection)
        if items is None:
            items = self._by_connection[connection] = deque()
        items.append(item)
        self.grouped += 1
        if self._counts is not None:
            self._counts.change(connection)

    def group(self, connection_of: Callable[[T], Hashable]) -> None:
        """Let connections take turns of the items that were not grouped, too."""
        while self.ungrouped:
            item = self.ungrouped.popleft()
            self.add(connection_of(item), item)

    def pop(self, may: Callable[[Hashable], bool] | None = None) -> T:
        """Take the first item that is not grouped, or else the first of the connection whose turn it is.

        Args:
            may: Whether a connection may have its turn; None where each may.

        Raises:
            StopIteration: If there is none.
        """
        if self.ungrouped:
            return self.ungrouped.popleft()
        connection = next(iter(self._by_connection) if may is None else filter(may, self._by_connection))
        items = self._by_connection.pop(connection)
        taken = items.popleft()
        if items:
            self._by_connection[connection] = items  # at the end: the next connection's turn
        self.grouped -= 1
        if self._counts is not None:
            self._is_taken(connection)
        return taken

    def displace(self, connection: Hashable, may: Callable[[T], bool] | None = None) -> T | None:
        """Take out one of the newest grouped items of the connection with the most, in favour of another connection's.

        Args:
            connection: Connection of the item that is to come in its place.
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
                self.grouped -= 1
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
        if not self.grouped:
            self._counts = None
        elif self._counts is not None:
            self._counts.change(connection, -1)
