"""Connections whose bytes keep arriving: calls of theirs whose messages take long are slow, and not hopeless.

On a busy machine, or over a slow link, a message of 15 MB takes seconds. How much of it has come is known to gRPC's
core alone; the kernel tells how much has come on its connection.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping

from rnnserve.server.connections.flood_guard import Arrived, address_of

__all__ = ["Arriving"]

_ORDINARY = 256 << 10
"""Bytes a second that arrive on a connection for each message that may be under way: a message of 15 MB takes a minute.
With as many messages under way as a busy machine had, each came at 400 kB a second. Beyond it: the call counts as one
whose message does not arrive."""

_SHORTEST, _LONGEST = 0.2, 1.0
"""Seconds over which the bytes of a connection are counted."""


class Arriving:
    """Looks at connections while someone asks. Any thread may."""

    def __init__(
        self, arrived: Callable[[], Mapping[str, Arrived]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start without a look.

        Args:
            arrived: Bytes that have arrived on each connection so far, by the address of its peer.
            clock: Clock, in seconds.
        """
        self._arrived = arrived
        self._clock = clock
        self._looks: deque[tuple[float, dict[str, int]]] = deque()
        self._lock = threading.Lock()

    def among(self, messages: Mapping[str, int]) -> set[str] | None:
        """Find the connections whose bytes keep arriving.

        Args:
            messages: Number of messages that may be arriving, by connection, as gRPC names it.

        Returns:
            Those connections; None where that is not known yet: it takes two looks.
        """
        with self._lock:
            at, total = self._clock(), {name: one.read + one.unread for name, one in self._arrived().items()}
            while self._looks and at - self._looks[0][0] > _LONGEST:
                self._looks.popleft()
            self._looks.append((at, total))
            since, before = self._looks[0]
        if at - since < _SHORTEST:
            return None
        bytes_since = Counter(total)
        bytes_since.subtract(before)
        wanted = _ORDINARY * (at - since)
        return {name for name, count in messages.items() if bytes_since[address_of(name)] >= wanted * count}
