"""How many bytes of requests and responses may be in memory at once: of all connections, and of one.

A limit on the number of requests says nothing about memory: 100 valid requests, 1.5 MB as sent, became 6 GB. Large
messages therefore take their bytes from a budget, from arrival until the response has been made, and from then until it
has been sent. One connection may have half of the budget, so that a client that doesn't read its responses leaves room
for others.

No budget counts a message that is still arriving: gRPC keeps it until it is whole, and a client may send all but the
last byte of many. Only the resident memory shows that, so `MemoryGuard` watches it.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable

from rnnserve.common.allocation import give_back_free_memory
from rnnserve.common.cgroup import Cgroups
from rnnserve.common.resident_memory import resident_bytes
from rnnserve.server.errors import TooMuchHeld

__all__ = ["LARGE", "RESPONSE_COPIES", "SMALL", "ByteBudget", "MemoryGuard", "bytes_for_requests"]

_log = logging.getLogger(__name__)

SMALL = 16 << 10
"""Bytes of a message up to which no budget counts it: queues and streams bound how many there are."""

LARGE = 128 << 10
"""Bytes of a request above which another thread parses it: to parse 16 MB kept the fast path for a second."""

RESPONSE_COPIES = 2
"""How often a response is in memory until it has been sent: gRPC copies it, and keeps the original meanwhile."""

_UNCOUNTED_BYTES = 144 << 20
"""Bytes that a process may have resident at work, beside those of requests and responses in flight: what the largest
requests take while they are read and run. Beyond it: RESOURCE_EXHAUSTED, for calls whose messages have not arrived."""

_LEAST_BYTES = 8 << 20
"""Bytes that requests and responses may take in any case."""

_LOOK_SECONDS = 0.05
_AT_ONCE = 8
"""Calls that the guard ends between two looks, so that their memory can be given back meanwhile."""

_WORTH, _PAUSE_SECONDS = 32 << 20, 2.0
"""Bytes above the usual ones for which an idle server gives free memory back, and seconds until it may do so again: it
takes some milliseconds."""


class ByteBudget:
    """Counts the bytes that are held, in all and by connection. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self.limit = limit  # one connection may hold half of it
        self.held = 0
        self._held: Counter[str] = Counter()  # by connection
        self._lock = threading.Lock()

    def take(self, connection: str, size: int) -> None:
        """Hold bytes for a connection, or hold none of them and raise TooMuchHeld."""
        with self._lock:
            if self._held[connection] + size > self.limit // 2:
                raise TooMuchHeld.by_connection(self._held[connection], self.limit // 2)
            if self.held + size > self.limit:
                raise TooMuchHeld.by_all(self.held, self.limit)
            self._held[connection] += size
            self.held += size

    def give_back(self, connection: str, size: int) -> None:
        """Release bytes that `take` has taken."""
        with self._lock:
            self.held -= size
            self._held[connection] -= size
            if not self._held[connection]:
                del self._held[connection]


class MemoryGuard:
    """Ends the calls that have waited longest for their message if memory grows much beyond that of an idle server."""

    def __init__(
        self,
        held_bytes: int,
        is_busy: Callable[[], bool],
        is_loading: Callable[[], bool],
        end_late: Callable[[int], int],
        clock: Callable[[], float],
    ) -> None:
        """Prepare; `end_late` ends up to so many calls whose message has not arrived, and returns how many."""
        self._most_bytes = held_bytes + _UNCOUNTED_BYTES
        self._is_busy, self._is_loading = is_busy, is_loading
        self._end_late = end_late
        self._clock = clock
        self._usual = resident_bytes() or 0
        self._due = 0.0  # when an idle server may give free memory back again
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="memory guard", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._is_closed.set()

    def look(self) -> None:
        """End calls if memory is short; give free memory back if the server is idle."""
        resident = resident_bytes()
        if resident is None:  # no descriptor is left to look with
            return
        if self._is_loading():
            self._usual = resident
        elif self._is_busy():
            most = self._usual + self._most_bytes
            if resident > most:
                give_back_free_memory()  # what gRPC took for answered messages is free, and still resident
                if (resident_bytes() or 0) > most and (ended := self._end_late(_AT_ONCE)):
                    _log.warning("Ended %d calls because their messages took memory and did not end", ended)
        elif resident <= self._usual + _WORTH:
            self._usual = resident
        elif self._clock() >= self._due:
            give_back_free_memory()
            self._due = self._clock() + _PAUSE_SECONDS
            self._usual = resident_bytes() or resident

    def _loop(self) -> None:
        while not self._is_closed.wait(_LOOK_SECONDS):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - the next look may be better
                _log.error("Cannot look at the memory of messages: %s", error)


def bytes_for_requests(wanted: int, sharers: int) -> int:
    """Lower the limit on bytes in flight to what loaded models leave of a container's memory, shared by `sharers`."""
    left = Cgroups().memory_left()
    if left is None or left // sharers >= wanted + _UNCOUNTED_BYTES:
        return wanted
    most = min(wanted, max(left // sharers - _UNCOUNTED_BYTES, _LEAST_BYTES))
    _log.warning(
        "The memory limit of the container leaves %d MB for each of %d processes: holding at most %d MB of requests "
        "and responses in place of %d MB, and refusing more. Raise the limit by %d MB to hold all.",
        (left // sharers) >> 20, sharers, most >> 20, wanted >> 20,
        (sharers * (wanted + _UNCOUNTED_BYTES) - left + (1 << 20) - 1) >> 20,
    )  # fmt: skip
    return most
