"""Limits on the bytes of requests and responses in memory, in total and per connection.

A limit on the number of requests doesn't bound memory: 100 valid requests, 1.5 MB as sent, grew to 6 GB. Large messages
therefore reserve their bytes in a budget: the request from its arrival until the response exists, and the response
until it has been sent. One connection may reserve half of the budget, so a client that doesn't read its responses
leaves room for others.

No budget counts a message before it has arrived completely. gRPC buffers each message until it is complete, and a
client can send all but the last byte of many messages. Only the resident memory shows such messages, so `MemoryGuard`
watches it.
"""

import logging
import threading
from collections import Counter
from collections.abc import Callable

from rnnserve.common.cgroup import Cgroups
from rnnserve.common.process_memory import give_back_free_memory, resident_bytes
from rnnserve.server.errors import TooMuchHeld

__all__ = ["LARGE", "RESPONSE_COPIES", "SMALL", "ByteBudget", "MemoryGuard", "bytes_for_requests"]

_log = logging.getLogger(__name__)

SMALL = 16 << 10
"""Messages up to this many bytes aren't counted, because queues and streams already bound their number."""

LARGE = 128 << 10
"""Requests above this many bytes are parsed on another thread: parsing 16 MB blocked the fast path for a second."""

RESPONSE_COPIES = 2
"""Copies of a response in memory until it has been sent: gRPC copies the response and keeps the original."""

_UNCOUNTED_BYTES = 144 << 20
"""Bytes of resident memory that a busy process may use in addition to requests and responses in flight. The largest
requests take this much while they are parsed and run. Beyond it: RESOURCE_EXHAUSTED for calls whose messages have not
arrived."""

_LEAST_BYTES = 8 << 20
"""Minimum limit on the bytes of requests and responses."""

_LOOK_SECONDS = 0.02
_AT_ONCE, _BYTES_OF_CALL = 8, 4 << 20
"""Calls that the guard ends at a check, and one more for each of so many bytes above its limit. Then it checks again,
because memory is freed in between. With checks every 50 ms, 48 of the largest messages at once took 100 MB more."""

_WORTH, _PAUSE_SECONDS = 32 << 20, 2.0
"""An idle server frees unused memory if it exceeds its usual size by this many bytes, at most once in this many
seconds, because freeing takes some milliseconds."""


class ByteBudget:
    """Counts the bytes in flight, in total and per connection. Thread-safe."""

    def __init__(self, limit: int) -> None:
        self.limit = limit  # one connection may use half of it
        self.held = 0
        self._held: Counter[str] = Counter()  # by connection
        self._lock = threading.Lock()

    def take(self, connection: str, size: int) -> None:
        """Reserve bytes for a connection, or raise TooMuchHeld and reserve none."""
        with self._lock:
            if self._held[connection] + size > self.limit // 2:
                raise TooMuchHeld.by_connection(self._held[connection], self.limit // 2)
            if self.held + size > self.limit:
                raise TooMuchHeld.by_all(self.held, self.limit)
            self._held[connection] += size
            self.held += size

    def give_back(self, connection: str, size: int) -> None:
        """Release bytes that `take` reserved."""
        with self._lock:
            self.held -= size
            self._held[connection] -= size
            if not self._held[connection]:
                del self._held[connection]


class MemoryGuard:
    """Ends the calls with the longest wait for their message if memory grows far above an idle server's."""

    def __init__(
        self,
        held_bytes: int,
        is_busy: Callable[[], bool],
        is_loading: Callable[[], bool],
        end_late: Callable[[int], int],
        clock: Callable[[], float],
    ) -> None:
        """Create the guard. `end_late(n)` ends up to n calls whose message has not arrived, and returns how many."""
        self._most_bytes = held_bytes + _UNCOUNTED_BYTES
        self._is_busy, self._is_loading = is_busy, is_loading
        self._end_late = end_late
        self._clock = clock
        self._usual = resident_bytes() or 0
        self._due = 0.0  # when an idle server may free memory again
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="memory guard", daemon=True)

    def start(self) -> None:
        """Start checking."""
        self._thread.start()

    def close(self) -> None:
        """Stop checking."""
        self._is_closed.set()

    def look(self) -> None:
        """End calls if memory is short, or free unused memory if the server is idle."""
        resident = resident_bytes()
        if resident is None:  # no file descriptor is left to read the memory with
            return
        if self._is_loading():
            self._usual = resident
        elif self._is_busy():
            most = self._usual + self._most_bytes
            if resident > most:
                give_back_free_memory()  # memory that gRPC has freed after responding is still resident
                excess = (resident_bytes() or 0) - most
                if excess > 0 and (ended := self._end_late(_AT_ONCE + excess // _BYTES_OF_CALL)):
                    _log.warning("Ended %d calls with incomplete messages because memory is low", ended)
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
            except Exception as error:  # noqa: BLE001 - the next check may succeed
                _log.error("Cannot check how much memory messages use: %s", error)


def bytes_for_requests(wanted: int, sharers: int) -> int:
    """Lower the limit on bytes in flight to the container memory that models leave to each of `sharers` processes."""
    left = Cgroups().memory_left()
    if left is None or left // sharers >= wanted + _UNCOUNTED_BYTES:
        return wanted
    most = min(wanted, max(left // sharers - _UNCOUNTED_BYTES, _LEAST_BYTES))
    _log.warning(
        "The memory limit of the container leaves %d MB for each of %d processes: limiting requests and responses in "
        "flight to %d MB instead of %d MB. To avoid this, raise the limit by %d MB.",
        (left // sharers) >> 20, sharers, most >> 20, wanted >> 20,
        (sharers * (wanted + _UNCOUNTED_BYTES) - left + (1 << 20) - 1) >> 20,
    )  # fmt: skip
    return most
