"""How many of something each connection has, and which has most: each change and each answer takes O(1)."""

from collections.abc import Hashable

__all__ = ["ConnectionCounts"]


class ConnectionCounts:
    """Counts, by connection. For one thread at a time."""

    __slots__ = ("_by_count", "_counts", "_most")

    def __init__(self) -> None:
        """Start with none."""
        self._counts: dict[Hashable, int] = {}
        self._by_count: dict[int, dict[Hashable, None]] = {}  # the connections that have so many
        self._most = 0

    def of(self, connection: Hashable) -> int:
        """How many a connection has."""
        return self._counts.get(connection, 0)

    def fullest(self) -> Hashable | None:
        """A connection that has most; None where none has any."""
        return next(iter(self._by_count[self._most])) if self._most else None

    def change(self, connection: Hashable, by: int = 1) -> None:
        """Count more of a connection, or one less."""
        before = self._counts.get(connection, 0)
        count = before + by
        if count:
            self._counts[connection] = count
            self._by_count.setdefault(count, {})[connection] = None
            self._most = max(self._most, count)
        else:
            del self._counts[connection]
        if before:
            same = self._by_count[before]
            del same[connection]
            if not same:
                del self._by_count[before]
                if before == self._most:  # this connection alone had most, and has it still, with one less
                    self._most = count
