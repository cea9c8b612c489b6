"""The memory of the process, looked at from outside: what no budget counts is bounded here, and given back.

What has arrived of messages that do not end is in gRPC's memory. A client may send all but the last byte of many
messages to the lane, or many that become large when they are decompressed. The resident memory tells, and the calls
that have been without a message the longest are ended until it is small again.

And what gRPC took for them in small blocks stays free in the C library's arenas: 200 MB after sixty messages of 14 MB.
When nothing is in hand, that is given back.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rnnserve.server.transport.allocation import give_back_free_memory

__all__ = ["Activity", "MemoryGuard", "resident_bytes"]

_log = logging.getLogger(__name__)

_STATM = Path("/proc/self/statm")
_PAGE = 4096

_LOOK_SECONDS = 0.05
_AT_ONCE = 4
"""Calls that are ended between two looks: what they held is given back meanwhile."""

_WORTH = 32 << 20
"""Bytes more than before for which free memory is given back: that takes some milliseconds."""


def resident_bytes() -> int | None:
    """Resident memory of this process in bytes; None where the operating system does not say."""
    try:
        return int(_STATM.read_text().split()[1]) * _PAGE
    except OSError:
        return None


class Activity(NamedTuple):
    """What the server has in hand.

    Attributes:
        has_requests: Whether requests are in hand that are counted, or being received.
        has_streams: Whether streams are open, on which messages may be arriving.
        is_loading: Whether a version of a model is being loaded, which takes memory, too.
    """

    has_requests: bool
    has_streams: bool
    is_loading: bool


class MemoryGuard:
    """Looks at the memory of the process while it serves."""

    def __init__(self, most_bytes: int, look: Callable[[], Activity], end_late: Callable[[int], int]) -> None:
        """Start the thread, where the operating system tells the memory.

        Args:
            most_bytes: Resident bytes, beyond those of the last moment without any activity, above which calls are
                ended.
            look: Says what the server has in hand.
            end_late: Ends up to as many calls whose message is late as it is told, and says how many.
        """
        self._most = most_bytes
        self._look = look
        self._end_late = end_late
        self._is_closed = threading.Event()
        resident = resident_bytes()
        if resident is not None:
            threading.Thread(target=self._loop, args=(resident,), name="memory guard", daemon=True).start()

    def close(self) -> None:
        """End the thread."""
        self._is_closed.set()

    def _loop(self, usual_bytes: int) -> None:
        given_back = usual_bytes  # resident bytes after free memory was given back the last time
        while not self._is_closed.wait(_LOOK_SECONDS):
            resident, activity = resident_bytes() or 0, self._look()
            if not activity.has_requests:
                if resident > given_back + _WORTH:
                    give_back_free_memory()
                    resident = resident_bytes() or 0
                given_back = resident
            if activity.is_loading or not (activity.has_requests or activity.has_streams):
                usual_bytes = resident
            elif resident > usual_bytes + self._most:
                ended = self._end_late(_AT_ONCE)
                if ended:
                    _log.warning("ended %d calls whose messages took memory and did not end", ended)
