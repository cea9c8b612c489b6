"""Memory limit of the gateway's process: returns free memory to the system, and ends a process that grows too large.

A supervisor, such as `rnnserve serve`, then starts a new process. Without the limit, the kernel would kill some process
on the machine, perhaps the server.
"""

import gc
import logging
import os
import time

from rnnserve.common.allocation import give_back_free_memory
from rnnserve.common.resident_memory import resident_bytes

__all__ = ["MemoryWatch"]

_log = logging.getLogger(__name__)

_TIDY_SECONDS = 5.0
_WORTH_BYTES = 16 << 20
"""Growth, in bytes above the process's smallest size, at which it returns free memory to the system."""


class MemoryWatch:
    """Ends this process if it uses more than `most` bytes, and collects garbage when it grows.

    Collection matters because a closed connection is part of a reference cycle that keeps its received data alive.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._least = resident_bytes() or 0
        self._tidied = time.monotonic()

    def look(self) -> None:
        """Check once. Call this a few times per second."""
        size = resident_bytes() or 0
        if size > self._most:
            _log.critical(
                "the HTTP gateway uses %d MB of memory, more than the %d MB of --max-memory-bytes, and ends at once",
                size >> 20,
                self._most >> 20,
            )
            os._exit(1)  # an orderly shutdown could fail for lack of memory
        self._least = min(self._least, size)
        if size - self._least >= _WORTH_BYTES and time.monotonic() - self._tidied >= _TIDY_SECONDS:
            gc.collect()
            give_back_free_memory()
            self._tidied = time.monotonic()
