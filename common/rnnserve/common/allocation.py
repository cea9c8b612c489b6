"""How the C library gives memory back: large blocks at once, so that what one large request took is not kept.

It takes blocks from two arenas. By default each thread has its own, up to eight for each core, and a thread frees into
the arena that a block is from: what gRPC's threads took stays scattered over them. Growing any but the first is a
system call for each page, too: 3 GB of header fields took 0.5 to 1.2 s of the kernel's time, and 0.1 s from the first.

By default glibc raises the size from which it gives blocks back with every large block that is freed, up to 32 MB. Then
requests of 15 MB leave their memory scattered in its arenas: 460 MB after sixty of them, 90 MB with a fixed size.
"""

import ctypes
import sys
from typing import Any

__all__ = ["give_back_free_memory", "give_back_large_blocks", "use_few_arenas"]

_C_LIBRARY = ctypes.CDLL(None) if sys.platform.startswith("linux") else None

_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD, _M_ARENA_MAX = -3, -1, -8
_LARGE = 8 << 20
"""Bytes of a block that is given back when it is freed: getting one costs a system call and its pages."""

_KEPT = 8 << 20
"""Bytes that stay at the end of an arena for the next blocks. With glibc's 128 kB, which a fixed size for large blocks
would leave in force, each run gave its memory back and got it again."""


_ARENAS = 2
"""With one for all threads, the fast path's waited for the lock of the others' blocks: 8 % fewer requests a second."""


def use_few_arenas() -> bool:
    """Have all threads take their blocks from two arenas. Once, before others start. False without glibc."""
    mallopt = _function("mallopt")
    return mallopt is not None and bool(mallopt(_M_ARENA_MAX, _ARENAS))


def give_back_large_blocks() -> bool:
    """Have blocks of 8 MB and more returned to the operating system when they are freed. False without glibc."""
    mallopt = _function("mallopt")
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGE)) and bool(mallopt(_M_TRIM_THRESHOLD, _KEPT))


def give_back_free_memory() -> None:
    """Return to the operating system what is free between smaller blocks, where the C library can: glibc does."""
    malloc_trim = _function("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _function(name: str) -> Any:  # noqa: ANN401 - ctypes makes a class of functions for each library
    """A function of the C library. None where it has none of this name."""
    return getattr(_C_LIBRARY, name, None)
