"""Bounds the memory of messages that are being received, which no budget counts: gRPC has them until they are whole.

A client may send all but the last byte of many messages. The resident memory shows that. When it is beyond its limit,
the calls that have waited longest for their message are ended, until it is small again.
"""

import logging
import threading
from collections.abc import Callable

from rnnserve.common.allocation import give_back_free_memory
from rnnserve.common.cgroup import Cgroups
from rnnserve.common.resident_memory import resident_bytes

__all__ = ["MemoryGuard", "bytes_for_requests"]

_log = logging.getLogger(__name__)

_UNCOUNTED_BYTES = 144 << 20
"""Bytes that a process may have resident at work, beside those of requests and responses in flight: what the largest
requests take while they are read and run. Beyond it: RESOURCE_EXHAUSTED, for calls whose messages have not arrived."""

_LEAST_BYTES = 8 << 20
"""Bytes that requests and responses may take in any case."""

_LOOK_SECONDS = 0.05
_AT_ONCE = 8
"""Calls that are ended between two looks: what they held is given back meanwhile."""

_WORTH = 32 << 20
"""Bytes beyond the usual ones for which free memory is given back, which takes some milliseconds."""

_PAUSE_SECONDS = 2.0
"""Seconds between two times that free memory is given back while no request is in flight."""


class MemoryGuard:
    """Looks at the resident memory while the server answers."""

    def __init__(
        self,
        held_bytes: int,
        is_busy: Callable[[], bool],
        is_loading: Callable[[], bool],
        end_late: Callable[[int], int],
        clock: Callable[[], float],
    ) -> None:
        """Begin with what is resident now.

        Args:
            held_bytes: Bytes that requests and responses in flight may take.
            is_busy: Whether bytes of requests are in flight, or messages may be arriving.
            is_loading: Whether a model is being loaded, which takes memory, too.
            end_late: Ends up to so many calls whose message has not arrived; returns how many.
            clock: Clock, in seconds.
        """
        self._most_bytes = held_bytes + _UNCOUNTED_BYTES
        self._is_busy, self._is_loading = is_busy, is_loading
        self._end_late = end_late
        self._clock = clock
        self._usual = resident_bytes() or 0  # of a server without requests
        self._due = 0.0  # when free memory is given back again
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="memory guard", daemon=True)

    def start(self) -> None:
        """Begin to look, on a thread."""
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._is_closed.set()

    def look(self) -> None:
        """Look once: end calls if memory is short, and give back free memory if no request is in flight."""
        resident = resident_bytes()
        if resident is None:  # no descriptor is left to look with
            return
        if self._is_loading():
            self._usual = resident
            return
        if not self._is_busy():
            if resident <= self._usual + _WORTH:
                self._usual = resident
            elif self._clock() >= self._due:
                give_back_free_memory()
                self._due = self._clock() + _PAUSE_SECONDS
                self._usual = resident_bytes() or resident
            return
        most = self._usual + self._most_bytes
        if resident <= most:
            return
        give_back_free_memory()  # what gRPC took for messages that have been answered is free, and still resident
        if (resident_bytes() or 0) > most and (ended := self._end_late(_AT_ONCE)):
            _log.warning("Ended %d calls because their messages took memory and did not end", ended)

    def _loop(self) -> None:
        while not self._is_closed.wait(_LOOK_SECONDS):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - the next look may be better
                _log.error("Cannot look at the memory of messages: %s", error)


def bytes_for_requests(wanted: int, sharers: int) -> int:
    """Give the bytes that requests and responses may take within the memory limit of the container, if it has one.

    To be called when the models have been loaded.

    Args:
        wanted: Bytes that they may take by the settings.
        sharers: How many such processes share the limit.
    """
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
