"""Standard output and error that a slow reader can't block.

A pipe that nobody reads is full after 64 KiB. Then each write would block, and with it the threads that log, model
updates and the shutdown. So a write waits only briefly for room. After that, lines are dropped until there is room
again, and the next line reports how many were dropped.

gRPC's core and the C library write to descriptor 2 directly. If that is a pipe or a terminal, this module reopens it in
non-blocking mode, so that their lines are lost instead.
"""

import atexit
import contextlib
import io
import os
import select
import stat
import sys
import threading
import time
from typing import IO, cast

__all__ = ["UnblockedStream", "finish_output", "unblock_output"]

_WAIT_SECONDS = 0.2
"""Seconds that a write waits for room. Beyond it: the line is dropped, and no write waits until there is room."""

_END_SECONDS = 0.5
"""Seconds to write the last lines at the end of the process."""

_ATOMIC = 4096
"""PIPE_BUF: bytes that a writable pipe accepts without blocking."""


class UnblockedStream(io.TextIOBase):
    """A text stream to a descriptor. Thread-safe."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._lock = threading.Lock()
        self._unfinished = ""
        self._rest = b""  # the unwritten part of a line
        self._left_out = 0

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Always UTF-8. Other characters are escaped."""
        return "utf-8"

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._fd

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return os.isatty(self._fd)

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Write the complete lines. An incomplete line waits for its end or for `flush`."""
        with self._lock:
            *lines, self._unfinished = (self._unfinished + text).split("\n")
            for line in lines:
                self._put(f"{line}\n")
        return len(text)

    def flush(self) -> None:
        """Write the incomplete line as well."""
        with self._lock:
            rest, self._unfinished = self._unfinished, ""
            if rest:
                self._put(rest)

    def finish(self, seconds: float = _END_SECONDS) -> None:
        """Write the rest, within `seconds`."""
        self.flush()
        with self._lock:
            self._catch_up(time.monotonic() + seconds)

    def _put(self, text: str) -> None:
        data = text.encode(errors="backslashreplace")
        is_stuck = bool(self._rest or self._left_out)
        deadline = time.monotonic() + (0.0 if is_stuck else _WAIT_SECONDS)
        if self._catch_up(deadline):
            self._rest = self._written(data, deadline)
            if self._rest != data:
                return
            self._rest = b""
        self._left_out += 1

    def _catch_up(self, deadline: float) -> bool:
        """Write the rest of a line and the number of dropped lines. Returns whether nothing is left."""
        self._rest = self._written(self._rest, deadline)
        if self._left_out and not self._rest:
            note = f"{self._left_out:,} lines left out here: they were not read as fast as they were written\n".encode()
            rest = self._written(note, deadline)
            if rest == note:
                return False
            self._rest, self._left_out = rest, 0
        return not self._rest

    def _written(self, data: bytes, deadline: float) -> bytes:
        """Write until the deadline and return the rest. If the reader is gone, drop the data."""
        while data:
            left = max(deadline - time.monotonic(), 0.0)
            if not self._poll.poll(1e3 * left):
                return data
            try:
                data = data[os.write(self._fd, data[:_ATOMIC]) :]
            except BlockingIOError:  # there is room, but not enough
                if not left:
                    return data
                time.sleep(1e-3)
            except OSError:
                return b""
        return b""


def unblock_output() -> None:
    """Replace `sys.stdout` and `sys.stderr` for the rest of this process. Call it once, at the start.

    Closed descriptors are opened on /dev/null. Otherwise a connection could get number 2, and lines for standard error
    would go to a client.
    """
    for fd in (0, 1, 2):
        with contextlib.suppress(OSError):
            os.fstat(fd)
            continue
        nothing = os.open(os.devnull, os.O_RDWR)
        if nothing != fd:
            os.dup2(nothing, fd)
            os.close(nothing)
    if sys.stdout is sys.__stdout__:  # otherwise something else, such as a test, has already replaced it
        sys.stdout = _unblocked(1, sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _unblocked(2, sys.stderr)


def finish_output() -> None:
    """Write the last lines, for at most half a second. Call it before the process exits immediately."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, UnblockedStream):
            stream.finish()


def _unblocked(fd: int, before: "IO[str] | None") -> "IO[str]":
    if before is not None:
        with contextlib.suppress(OSError):
            before.flush()
    if stat.S_ISFIFO(os.fstat(fd).st_mode) or os.isatty(fd):
        # Reopen it, because other processes share the old file description and may rely on blocking writes. A pipe of
        # another user cannot be reopened.
        with contextlib.suppress(OSError):
            again = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
            os.dup2(again, fd)
            os.close(again)
    stream = UnblockedStream(fd)
    atexit.register(stream.finish)
    return cast("IO[str]", stream)
