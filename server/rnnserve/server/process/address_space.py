"""The limit on the process's address space (`ulimit -v`): what it leaves for requests, and a line where that is little.

Where an allocation fails, Python raises, and the request is answered INTERNAL; gRPC's core and its libraries end the
process. Most addresses are reserved and never used (450 MB before the first request, 95 MB of them resident), so that
a limit that seems to be large leaves little. So requests are held to what is left when the models have been loaded.
"""

import resource
from pathlib import Path

__all__ = ["address_space_left", "bytes_for_requests", "stack_bytes"]

_STATM = Path("/proc/self/statm")
_PAGE = resource.getpagesize()

_LEAST = 8 << 20
"""Bytes that requests may take in any case."""

_COPIES = 2
"""Bytes of address space of each byte that is held: what was freed of large messages stays reserved for a while."""

_USUAL_STACK = 8 << 20
"""Bytes of a thread's stack where stacks have no limit."""


def address_space_left() -> int | None:
    """Bytes of address space that the process may still take; None where it has no limit that is known."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        return limit - int(_STATM.read_text().split()[0]) * _PAGE
    except OSError:
        return None


def stack_bytes() -> int:
    """Bytes of address space that each thread's stack takes."""
    limit, _ = resource.getrlimit(resource.RLIMIT_STACK)
    return _USUAL_STACK if limit == resource.RLIM_INFINITY else limit


def bytes_for_requests(wanted: int, uncounted: int, left: int | None) -> tuple[int, str | None]:
    """How many bytes requests and responses may take, and what is to be said of it, if anything.

    Args:
        wanted: Bytes that they may take by the settings.
        uncounted: Bytes that the largest take beside those that are counted.
        left: Result of `address_space_left`.
    """
    needed = _COPIES * wanted + uncounted
    if left is None or left >= needed:
        return wanted, None
    most = min(wanted, max((left - uncounted) // _COPIES, _LEAST))
    return most, (
        f"the limit on the address space (ulimit -v) leaves {left >> 20:,} MB, and requests may take "
        f"{needed >> 20:,}: {most >> 20:,} MB of requests and responses are held in the place of "
        f"{wanted >> 20:,} (--max-held-bytes), and large ones are refused; raise the limit by "
        f"{(needed - left + (1 << 20) - 1) >> 20:,} MB, or lift it"
    )
