"""The last resort where a front takes more memory than its other bounds should let it: it ends, and is replaced.

Its connections end with it. Without that the kernel would end some process of the machine, and that may be the server.
"""

import logging
import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path

__all__ = ["end_beyond", "least_memory_bytes"]

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.1
_STATM = Path("/proc/self/statm")
_STATUS = 1


def least_memory_bytes(max_body_bytes: int) -> int:
    """Give the memory that a front may need: 512 MiB with bodies of 32 MiB.

    Args:
        max_body_bytes: Largest body.
    """
    return (256 << 20) + 8 * max_body_bytes


def resident_bytes() -> int:
    """Give the memory that this process holds."""
    return int(_STATM.read_text().split()[1]) * resource.getpagesize()


def end_beyond(
    most: int,
    held: Callable[[], int] = resident_bytes,
    end: Callable[[int], object] = os._exit,  # nothing of what is left to do would be sure to succeed
) -> None:
    """Watch this process from now on, and end it at once where it holds more memory than it may.

    Args:
        most: Bytes that it may hold.
        held: Function that gives the bytes that it holds.
        end: Function that ends it, with a status.
    """
    if not _STATM.exists():
        return
    threading.Thread(target=_watch, args=(most, held, end), name="memory limit", daemon=True).start()


def _watch(most: int, held: Callable[[], int], end: Callable[[int], object]) -> None:
    pause = threading.Event()
    while (size := held()) <= most:
        pause.wait(_LOOK_SECONDS)
    _log.critical(
        "this process for HTTP holds %d MB of memory, more than the %d MB of --max-memory-bytes: it ends at once",
        size >> 20,
        most >> 20,
    )
    end(_STATUS)
