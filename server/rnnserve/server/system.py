"""System resources of a server: threads, memory and ports, with one-line errors if they run out."""

import contextlib
import errno
import mmap
import os
import resource
import socket
import sys
import threading
from collections.abc import Iterator

from rnnserve.server.errors import StartError

__all__ = ["check_room", "giving_way", "listen_on", "probe_port", "reserve_port", "start_error", "why_no_resource"]

_NO_THREAD = "can't start new thread"
"""Python's message, which doesn't include the reason."""

_OUT_OF_ADDRESSES = ("failed to map segment", "cannot map zero-fill pages", "cannot allocate memory")
"""Messages of the shared library loader if address space runs out."""

_THREADS, _MOST_OF_CORES = 15, 16
"""Threads of a server that has just started: 17 on two cores. gRPC's core has one per core of these, at most 16."""

_ROOM_BYTES = 160 << 20
"""Address space of a server without its threads' stacks: libraries and reservations of the C library."""


def check_room(nbytes: int = _ROOM_BYTES) -> None:
    """Briefly start as many threads and reserve as much memory as a server needs. Raise StartError if that fails.

    Otherwise gRPC's core would try for ten seconds to start its threads, and then hang or abort the process without a
    reason.
    """
    may_end = threading.Event()
    threads: list[threading.Thread] = []
    try:
        for _ in range(_THREADS + min(_MOST_OF_CORES, len(os.sched_getaffinity(0)))):
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
    """Convert an exception into a StartError if the system has run out of a resource, otherwise return None."""
    if isinstance(error, ImportError) and any(words in str(error).lower() for words in _OUT_OF_ADDRESSES):
        error = MemoryError()
    if isinstance(error, (MemoryError, OSError)) or _NO_THREAD in str(error):
        return StartError(f"cannot start: {why_no_resource(error)}")
    return None


def why_no_resource(error: BaseException) -> str:
    """Describe the missing resource."""
    is_thread = _NO_THREAD in str(error)
    lacks_addresses = is_thread and resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY  # for its stack
    if lacks_addresses or isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return "not enough memory or address space (see ulimit -v)"
    if is_thread:
        return "cannot start more threads (see ulimit -u, and pids.max of the control group)"
    reason = error.strerror if isinstance(error, OSError) else None
    return reason or str(error) or type(error).__name__


def probe_port(host: str, port: int) -> None:
    """Raise StartError if another process listens on the port, or the host isn't this machine's."""
    _bind(host, port).close()


@contextlib.contextmanager
def reserve_port(host: str, port: int) -> Iterator[int]:
    """Reserve a port for workers (0: a free one) without listening. Raise StartError if a process listens there."""
    probe_port(host, port)
    with _bind(host, port, shares=True) as held:
        yield held.getsockname()[1]


def listen_on(host: str, port: int, purpose: str) -> socket.socket:
    """Listen on a port (0: a free one). Raise StartError, naming the purpose, if that fails."""
    return _bind(host, port, backlog=4096, purpose=f" for {purpose}")


def _bind(host: str, port: int, *, shares: bool = False, backlog: int = 0, purpose: str = "") -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        # As in gRPC, SO_REUSEADDR is set. Without it, connections in TIME_WAIT of a previous server without workers
        # would block the port for a minute, because their sockets don't have SO_REUSEPORT.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shares:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((host, port))
        if backlog:
            bound.listen(backlog)
    except OSError as error:
        bound.close()
        raise StartError(f"cannot listen on {host}:{port}{purpose}: {error.strerror or error}") from error
    return bound


_SWITCH_SECONDS = 0.5e-3
"""Maximum seconds for which such a thread keeps the GIL from threads that answer requests. Loading a small version
takes 11 ms of Python code. With Python's default of 5e-3, other threads waited up to 5.6 ms meanwhile (p99), with this
value 2.4 ms."""

_lock = threading.Lock()
_givers = 0
_before = sys.getswitchinterval()


@contextlib.contextmanager
def giving_way() -> Iterator[None]:
    """Make this thread release the GIL sooner within a `with` block."""
    global _givers, _before
    with _lock:
        if not _givers:
            _before = sys.getswitchinterval()
            sys.setswitchinterval(_SWITCH_SECONDS)
        _givers += 1
    try:
        yield
    finally:
        with _lock:
            _givers -= 1
            if not _givers:
                sys.setswitchinterval(_before)
