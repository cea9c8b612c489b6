"""What waits, by connection: connections take turns, so that one with much of it delays the others little.

And where something has to give way, it is of the connection that has the most.
"""

from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["ConnectionTurns"]

T = TypeVar("T")

_LOOKED_AT = 8
"""Newest items of a connection among which one is looked for that may give way."""


class ConnectionTurns(Generic[T]):
    """Items that wait. For one thread at a time."""

    __slots__ = ("_by_connection", "_by_count", "_count", "_most")

    def __init__(self) -> None:
        """Start without any."""
        self._by_connection: dict[Hashable, deque[T]] = {}
        self._count = 0
        # Connections by how many items they have, from the first time that this matters until nothing waits.
        self._by_count: dict[int, dict[Hashable, None]] = {}
        self._most = 0

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
        if self._by_count:
            self._has_now(connection, len(items) - 1, len(items))

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
        self._is_taken(connection, len(items))
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
                self._is_taken(fullest, len(items))
                return item
        return None

    def _fullest(self) -> Hashable | None:
        """A connection with the most items; None where there is none."""
        if not self._by_count:
            self._most = 0
            for connection, items in self._by_connection.items():
                self._has_now(connection, 0, len(items))
        return next(iter(self._by_count[self._most])) if self._most else None

    def _is_taken(self, connection: Hashable, left: int) -> None:
        self._count -= 1
        if not self._count:
            self._by_count.clear()
        elif self._by_count:
            self._has_now(connection, left + 1, left)

    def _has_now(self, connection: Hashable, before: int, count: int) -> None:
        """Note how many items a connection has. The most of all changes by one at a time, as each count does."""
        if count:
            self._by_count.setdefault(count, {})[connection] = None
            self._most = max(self._most, count)
        same = self._by_count.get(before)
        if same is not None:
            del same[connection]
            if not same:
                del self._by_count[before]
                if before == self._most:
                    self._most = count
