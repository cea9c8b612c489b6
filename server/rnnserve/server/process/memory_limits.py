"""What limits on memory leave for requests, and a line where that is little: address space, and a container's memory.

Where an allocation fails for a limit on the address space (`ulimit -v`), Python raises, and the request is answered
INTERNAL; gRPC's core and its libraries end the process. Most addresses are reserved and never used (450 MB before the
first request, 95 MB of them resident), so that a limit that seems to be large leaves little. Where a control group has
a limit, the kernel ends a process that goes beyond it. So requests are held to what is left when the models have been
loaded.
"""

import resource
from pathlib import Path
from typing import NamedTuple

from rnnserve.common.cgroup import Cgroups

__all__ = ["UNCOUNTED_BYTES", "Room", "address_space_left", "bytes_for_requests", "memory_left", "stack_bytes"]

UNCOUNTED_BYTES = 144 << 20
"""Bytes that a process may have resident at work, beside `--max-held-bytes`: what the largest requests take while they
are read and run. Beyond it: RESOURCE_EXHAUSTED, for calls whose messages have not arrived."""

_STATM = Path("/proc/self/statm")
_PAGE = resource.getpagesize()

_LEAST = 8 << 20
"""Bytes that requests may take in any case."""

_COPIES = 2
"""Bytes of address space of each byte that is held: what was freed of large messages stays reserved for a while."""

_USUAL_STACK = 8 << 20
"""Bytes of a thread's stack where stacks have no limit."""

_ADDRESS_SPACE = "the address space (ulimit -v)"
_MEMORY = "the memory of the container, or of another control group"


class Room(NamedTuple):
    """What a limit leaves.

    Attributes:
        left: Bytes that may still be taken.
        limit: What is limited, in words.
    """

    left: int
    limit: str


def address_space_left() -> Room | None:
    """Address space that the process may still take; None where it has no limit that is known."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        return Room(limit - int(_STATM.read_text().split()[0]) * _PAGE, _ADDRESS_SPACE)
    except OSError:
        return None


def memory_left(sharers: int) -> Room | None:
    """Memory that each of several like processes may still take in their control groups; None without a limit.

    Args:
        sharers: Number of the processes.
    """
    left = Cgroups().memory_left()
    return None if left is None else Room(left // sharers, _MEMORY)


def stack_bytes() -> int:
    """Bytes of address space that each thread's stack takes."""
    limit, _ = resource.getrlimit(resource.RLIMIT_STACK)
    return _USUAL_STACK if limit == resource.RLIM_INFINITY else limit


def bytes_for_requests(wanted: int, uncounted: int, room: Room) -> tuple[int, str | None]:
    """How many bytes requests and responses may take, and what is to be said of it, if anything.

    Args:
        wanted: Bytes that they may take by the settings.
        uncounted: Bytes that the largest take beside those that are counted.
        room: Room that a limit leaves.
    """
    needed = _COPIES * wanted + uncounted
    if room.left >= needed:
        return wanted, None
    most = min(wanted, max((room.left - uncounted) // _COPIES, _LEAST))
    return most, (
        f"the limit on {room.limit} leaves {room.left >> 20:,} MB, and requests may take "
        f"{needed >> 20:,}: {most >> 20:,} MB of requests and responses are held in the place of "
        f"{wanted >> 20:,} (--max-held-bytes), and large ones are refused; raise the limit by "
        f"{(needed - room.left + (1 << 20) - 1) >> 20:,} MB, or lift it"
    )
