"""Read this process's resident memory, cheaply enough to poll it twenty times per second while serving.

The file in /proc stays open: opening it for each read takes four times as long on a busy server.
"""

import functools
import os
import resource

__all__ = ["resident_bytes"]

_PAGE = resource.getpagesize()


def resident_bytes() -> int | None:
    """Return the resident memory of this process in bytes, or None if the operating system doesn't report it."""
    try:
        return int(os.pread(_opened(os.getpid()), 256, 0).split()[1]) * _PAGE
    except OSError:
        return None


@functools.cache
def _opened(_: int) -> int:
    """Open the file, once for each process: a forked child inherits the descriptor of its parent's file."""
    return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
