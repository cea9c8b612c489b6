"""Standard output and error that a slow reader can't block.

A pipe that nobody reads is full after 64 KiB. Then each write would block, and with it the threads that log, model
updates and the shutdown. So a write waits only briefly for room. After that, lines are dropped until there is room
again, and the next line reports how many were dropped.

gRPC's core and the C library write to descriptor 2 directly. If that is a pipe or a terminal, this module reopens it in
non-blocking mode, so that their lines are lost instead.
"""

import contextlib
import io
import os
import select
import stat
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["finish_output", "unblock_output", "unblocked_stream"]

_WAIT_SECONDS = 0.2
"""Seconds that a write waits for room. Beyond it: the line is dropped, and no write waits until there is room."""

_ATOMIC = 4096
"""PIPE_BUF: bytes that a writable pipe accepts without blocking, all or none of them."""


class _DroppingFile(io.FileIO):
    """A descriptor whose writes are dropped and counted if there is no room. `io.BufferedWriter` locks it."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd, "w", closefd=False)
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._left_out = 0

    def write(self, text: "ReadableBuffer", /) -> int:
        """Write lines, after the number of lines that were dropped before them, or drop them."""
        lines, note, wait = bytes(text), b"", _WAIT_SECONDS
        if self._left_out:
            said = (
                f"{self._left_out:,} lines are missing here, because the log was not read as fast as it was written\n"
            )
            note, wait = said.encode(), 0.0
        data = note + lines
        try:
            while data and self._poll.poll(1e3 * wait):
                data = data[os.write(self.fileno(), data[:_ATOMIC]) :]
        except BlockingIOError:  # another process has taken the room
            pass
        except OSError:  # the reader has gone
            data = b""
        self._left_out = self._left_out + lines.count(b"\n") if data else 0
        return len(lines)


def unblocked_stream(fd: int) -> io.TextIOWrapper:
    """Return a text stream to a descriptor, in UTF-8. It writes complete lines, and the rest on `flush`."""
    return io.TextIOWrapper(
        io.BufferedWriter(_DroppingFile(fd)), encoding="utf-8", errors="backslashreplace", line_buffering=True
    )


def unblock_output() -> None:
    """Replace `sys.stdout` and `sys.stderr` for the rest of this process. Call it once, at the start.

    Closed descriptors are opened on /dev/null. Otherwise a connection could get number 2, and lines for standard error
    would go to a client.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:  # open takes the lowest number that is free
        pass
    os.close(fd)
    finish_output()
    if sys.stdout is sys.__stdout__:  # otherwise something else, such as a test, has already replaced it
        sys.stdout = _unblocked(1)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _unblocked(2)


def finish_output() -> None:
    """Write incomplete lines. Call it before the process exits immediately."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, AttributeError):  # None if the descriptor was closed
            stream.flush()


def _unblocked(fd: int) -> io.TextIOWrapper:
    if stat.S_ISFIFO(os.fstat(fd).st_mode) or os.isatty(fd):
        # Reopen it, because other processes share the old file description and may rely on blocking writes. A pipe of
        # another user cannot be reopened.
        with contextlib.suppress(OSError):
            again = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
            os.dup2(again, fd)
            os.close(again)
    return unblocked_stream(fd)
