"""How many bytes of requests and responses may be in memory at once: of all connections, and of one.

A limit on the number of requests says nothing about memory: 100 valid requests, 1.5 MB as sent, became 6 GB. Large
messages therefore take their bytes from a budget, from arrival until the answer is made and from the answer until it
has been sent, and are refused at once where it is spent. A connection has half of it, so that one alone, for instance
one that does not read its responses, leaves room for the others.
"""

import threading
from collections import Counter

from rnnserve.server.errors import TooMuchHeld

__all__ = ["LARGE", "RESPONSE_COPIES", "SMALL", "ByteBudget"]

SMALL = 16 << 10
"""Bytes of a message that is not counted among those in hand: the queues' lengths and the number of streams bound how
many there are. Beyond it: it is counted."""

LARGE = 128 << 10
"""Bytes of a request above which another thread parses it: to parse 16 MB kept the fast path for a second."""

RESPONSE_COPIES = 2
"""How often a response is in memory until it has been sent: gRPC copies it, and keeps the original meanwhile."""


class ByteBudget:
    """Counts bytes that are held, in all and by connection. Any thread may use it.

    Attributes:
        limit: Bytes that may be held.
    """

    def __init__(self, limit: int) -> None:
        """Start with nothing held.

        Args:
            limit: Bytes that may be held; by one connection, half as many.
        """
        self.limit = limit
        self._held: Counter[str] = Counter()
        self._total = 0
        self._lock = threading.Lock()

    @property
    def held(self) -> int:
        """Bytes that are held now."""
        return self._total

    def take(self, connection: str, size: int) -> None:
        """Hold bytes for a connection.

        Raises:
            TooMuchHeld: If they would be more than may be held; then none of them are.
        """
        with self._lock:
            if self._held[connection] + size > self.limit // 2:
                raise TooMuchHeld.by_connection(self._held[connection], self.limit // 2)
            if self._total + size > self.limit:
                raise TooMuchHeld.by_all(self._total, self.limit)
            self._held[connection] += size
            self._total += size

    def give_back(self, connection: str, size: int) -> None:
        """Hold bytes no longer that `take` has taken."""
        with self._lock:
            self._total -= size
            self._held[connection] -= size
            if not self._held[connection]:
                del self._held[connection]
