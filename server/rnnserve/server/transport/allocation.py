"""How the C library gives memory back: large blocks at once, so that what one large request took is not kept.

By default glibc raises the size from which it gives blocks back with every large block that is freed, up to 32 MB; then
requests of 15 MB leave their memory scattered in its arenas: 460 MB after sixty of them, 90 MB with a fixed size.
"""

import ctypes
import sys

__all__ = ["give_back_large_blocks"]

_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1
_LARGE = 1 << 20
"""Bytes of a block that is given back when it is freed: getting one costs a system call and its pages."""


def give_back_large_blocks() -> bool:
    """Have blocks of 1 MB and more returned to the operating system when they are freed. Once, before others start.

    Returns:
        Whether this C library takes the setting: glibc does.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGE)) and bool(mallopt(_M_TRIM_THRESHOLD, _LARGE))
