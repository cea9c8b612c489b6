"""The memory of the gateway's process: what is free is given back, and as a last resort the process ends.

It is replaced then. Otherwise the kernel would end some process of the machine, perhaps the server.
"""

import gc
import logging
import os
import threading
import time
from collections.abc import Callable

from rnnserve.common.allocation import give_back_free_memory
from rnnserve.common.resident_memory import resident_bytes

__all__ = ["MemoryWatch", "end_beyond"]

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.25
_TIDY_SECONDS = 5.0
_WORTH_BYTES = 16 << 20
"""Bytes above the least that this process has held, from which on free memory is given back."""


def end_beyond(most: int) -> None:
    """Watch this process from now on, and end it at once if it holds more bytes."""
    if resident_bytes() is not None:
        threading.Thread(target=MemoryWatch(most).run, name="memory limit", daemon=True).start()


class MemoryWatch:
    """Looks at the memory of this process. A connection that closed is in cycles, with all that it has received."""

    def __init__(self, most: int, held: Callable[[], int | None] = resident_bytes) -> None:
        self._most = most
        self._held = held
        self._least = held() or 0
        self._tidied = time.monotonic()

    def run(self) -> None:
        """Look until the process holds more than it may."""
        while self.look():
            time.sleep(_LOOK_SECONDS)
        os._exit(1)  # nothing that is left to do would be sure to succeed

    def look(self) -> bool:
        """Look once: whether the process holds no more than it may."""
        size = self._held() or 0
        if size > self._most:
            _log.critical(
                "this process for HTTP holds %d MB of memory, more than the %d MB of --max-memory-bytes: it ends at "
                "once",
                size >> 20,
                self._most >> 20,
            )
            return False
        self._least = min(self._least, size)
        if size - self._least >= _WORTH_BYTES and time.monotonic() - self._tidied >= _TIDY_SECONDS:
            gc.collect()
            give_back_free_memory()
            self._tidied = time.monotonic()
        return True
