"""The last resort against messages that do not end: what has arrived of them is in gRPC's memory, uncounted.

A client may send all but the last byte of many messages to the lane, or many that become large when they are
decompressed. The server's resident memory tells, and the calls that have been without a message the longest are ended
until it is small again.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

__all__ = ["MemoryGuard", "resident_bytes"]

_log = logging.getLogger(__name__)

_STATM = Path("/proc/self/statm")
_PAGE = 4096

_LOOK_SECONDS = 0.05
_AT_ONCE = 4
"""Calls that are ended between two looks: what they held is given back meanwhile."""


def resident_bytes() -> int | None:
    """Resident memory of this process in bytes; None where the operating system does not say."""
    try:
        return int(_STATM.read_text().split()[1]) * _PAGE
    except OSError:
        return None


class MemoryGuard:
    """Looks at the memory of the process while it serves."""

    def __init__(self, most_bytes: int, end_late: Callable[[int], int]) -> None:
        """Start the thread, where the operating system tells the memory.

        Args:
            most_bytes: Resident bytes, beyond those of now, above which calls are ended.
            end_late: Ends up to as many calls whose message is late as it is told, and says how many.
        """
        self._end_late = end_late
        self._is_closed = threading.Event()
        before = resident_bytes()
        if before is not None:
            self._most = before + most_bytes
            threading.Thread(target=self._loop, name="memory guard", daemon=True).start()

    def close(self) -> None:
        """End the thread."""
        self._is_closed.set()

    def _loop(self) -> None:
        while not self._is_closed.wait(_LOOK_SECONDS):
            if (resident_bytes() or 0) > self._most:
                ended = self._end_late(_AT_ONCE)
                if ended:
                    _log.warning("ended %d calls whose messages took memory and did not end", ended)
