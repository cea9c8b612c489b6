"""Whether the system gives this process the threads and the address space that a server needs, before it needs them.

gRPC's core tries for ten seconds to start its threads, and then aborts the process without a word of the limit.
"""

import mmap
import os
import threading

from rnnserve.server.errors import StartError
from rnnserve.server.process.resources import why_no_resource

__all__ = ["check_room", "start_error"]

_THREADS, _MOST_OF_CORES = 15, 16
"""Threads of a server that has just started: 17 on two cores, of which gRPC's core has one a core, 16 at most."""

_BYTES = 160 << 20
"""Address space that it takes beside its threads' stacks: libraries, and what the C library reserves."""

_OUT_OF_ADDRESSES = ("failed to map segment", "cannot allocate memory")
"""What the loader of shared libraries says where there is no address space left for one."""


def check_room(nbytes: int = _BYTES) -> None:
    """Start as many threads as a server has, and reserve as much memory, for a moment: it takes 2 ms.

    Args:
        nbytes: Address space beside the threads' stacks.

    Raises:
        StartError: If the system does not give as much; the message says which limit that is.
    """
    count = _THREADS + min(_MOST_OF_CORES, len(os.sched_getaffinity(0)))
    may_end = threading.Event()
    threads: list[threading.Thread] = []
    try:
        for _ in range(count):
            thread = threading.Thread(target=may_end.wait, daemon=True)
            thread.start()
            threads.append(thread)
        mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=0).close()
    except (RuntimeError, OSError) as error:
        raise start_error(error) or error from error
    finally:
        may_end.set()
        for thread in threads:
            thread.join()


def start_error(error: BaseException) -> StartError | None:
    """Turn an exception into the reason why the server cannot start, where the system has run out of something."""
    is_memory = isinstance(error, ImportError) and any(words in str(error).lower() for words in _OUT_OF_ADDRESSES)
    if isinstance(error, (MemoryError, OSError)) or is_memory or "can't start new thread" in str(error):
        return StartError(f"cannot start: {why_no_resource(MemoryError() if is_memory else error)}")
    return None
