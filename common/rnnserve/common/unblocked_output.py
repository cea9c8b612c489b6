"""Standard output and error that never make this process wait, whoever reads them, and however slowly.

A pipe that is not read is full after 64 KiB, and then each write waits: threads that log would wait for ever, and with
them changes of models, and the end. So what cannot be written at once waits in memory, up to a bound, and is written by
a thread of its own when there is room. What does not fit is left out, and a line says later how much that was.

Where a write would not wait it is made at once, by the thread that logs: what was logged last is there even if the
process is aborted in the next moment.

gRPC's core and the C library write to descriptor 2 by themselves. Where it is a pipe or a terminal, it is replaced by
another description of it that does not wait, so that what they write is lost instead.
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
from collections import deque
from typing import IO, cast

__all__ = ["UnblockedStream", "finish_output", "unblock_output"]

_MOST_BYTES = 1 << 20
"""Bytes of the log that wait to be written: ten thousand lines. Beyond it: they are left out."""

_END_SECONDS = 0.5
"""Seconds that what waits has at the end of the process."""

_LOOK_SECONDS = 0.2

_ATOMIC = 4096
"""Bytes that a pipe with room takes without a wait, PIPE_BUF."""


class UnblockedStream(io.TextIOBase):
    """A text stream to a descriptor. Any thread may write; none ever waits for the reader."""

    def __init__(self, fd: int, *, may_write_at_once: bool, most_bytes: int = _MOST_BYTES) -> None:
        """Start with nothing waiting.

        Args:
            fd: The descriptor.
            may_write_at_once: Whether a write to it never waits: it is no pipe, or does not block.
            most_bytes: Number of bytes that may wait; more are left out.
        """
        self._fd = fd
        self._most_bytes = most_bytes
        self._may_write_at_once = may_write_at_once
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._left_out = 0
        self._unfinished = ""
        self._thread: threading.Thread | None = None

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Always UTF-8; what it does not have is escaped."""
        return "utf-8"

    def fileno(self) -> int:
        """The descriptor."""
        return self._fd

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self._fd)

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, text: str) -> int:
        """Write whole lines; what has no end yet waits for `flush`, or for its end."""
        with self._changed:
            *lines, self._unfinished = (self._unfinished + text).split("\n")
            for line in lines:
                self._put(f"{line}\n")
        return len(text)

    def flush(self) -> None:
        """Write a line that has no end yet, too. Does not wait for what waits."""
        with self._changed:
            rest, self._unfinished = self._unfinished, ""
            if rest:
                self._put(rest)

    def finish(self, seconds: float = _END_SECONDS) -> None:
        """Wait until all is written, `seconds` at most."""
        self.flush()
        deadline = time.monotonic() + seconds
        with self._changed:
            while self._waiting or self._left_out:
                if not self._changed.wait(deadline - time.monotonic()):
                    return

    def _put(self, text: str) -> None:
        data = text.encode(errors="backslashreplace")
        if self._may_write_at_once and not self._waiting and not self._left_out:
            data = _written(self._fd, data)
        if not data:
            return
        if self._bytes + len(data) > self._most_bytes:
            self._left_out += 1
            return
        self._waiting.append(data)
        self._bytes += len(data)
        if self._thread is None:
            with contextlib.suppress(RuntimeError):  # as many threads as may be: the next line tries again
                thread = threading.Thread(target=self._loop, name="output", daemon=True)
                thread.start()
                self._thread = thread
        self._changed.notify_all()

    def _loop(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        while True:
            with self._changed:
                while not self._waiting:
                    if self._left_out:
                        self._note_left_out()
                    else:
                        self._changed.notify_all()
                        self._changed.wait()
            if not poll.poll(1e3 * _LOOK_SECONDS):
                continue
            if self._may_write_at_once:
                with self._changed:
                    rest = _written(self._fd, self._take())
                    self._put_back(rest)
                if rest:
                    time.sleep(1e-3)  # there is room, but for less than a line
            else:
                with self._changed:
                    data = self._take()
                    self._put_back(data[_ATOMIC:])
                # Another process may have filled the pipe by now: this thread waits then, and no other.
                _written(self._fd, data[:_ATOMIC])

    def _take(self) -> bytes:
        data = self._waiting.popleft()
        self._bytes -= len(data)
        return data

    def _put_back(self, data: bytes) -> None:
        if data:
            self._waiting.appendleft(data)
            self._bytes += len(data)

    def _note_left_out(self) -> None:
        count, self._left_out = self._left_out, 0
        data = f"{count:,} lines left out here: they were not read as fast as they were written\n".encode()
        self._waiting.append(data)
        self._bytes += len(data)


def unblock_output() -> None:
    """Replace `sys.stdout` and `sys.stderr`, for the rest of this process's life. To be called once, at its start.

    Descriptors that were closed are opened on nothing: otherwise a connection would get their numbers, and what is
    written to standard error would be sent to a client.
    """
    for fd in (0, 1, 2):
        with contextlib.suppress(OSError):
            os.fstat(fd)
            continue
        nothing = os.open(os.devnull, os.O_RDWR)
        if nothing != fd:
            os.dup2(nothing, fd)
            os.close(nothing)
    if sys.stdout is sys.__stdout__:  # else it has been replaced already, by a test for example
        sys.stdout = _unblocked(1, sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _unblocked(2, sys.stderr)


def finish_output() -> None:
    """Write what waits, for half a second at most: to be called before the process ends at once."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, UnblockedStream):
            stream.finish()


def _unblocked(fd: int, before: "IO[str] | None") -> "IO[str]":
    if before is not None:
        with contextlib.suppress(OSError):
            before.flush()
    mode = os.fstat(fd).st_mode
    may_write_at_once = not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd)) or _reopen(fd)
    stream = UnblockedStream(fd, may_write_at_once=may_write_at_once)
    atexit.register(stream.finish)
    return cast("IO[str]", stream)


def _reopen(fd: int) -> bool:
    """Replace a descriptor by another description of the same pipe or terminal, one that does not block; whether it is.

    A description is shared with other processes, which may not expect that theirs does not block. A socket cannot be
    opened again, nor can a pipe of another user.
    """
    try:
        again = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return False
    os.dup2(again, fd)
    os.close(again)
    return True


def _written(fd: int, data: bytes) -> bytes:
    """Write what can be; return the rest. What cannot be written at all, since the reader has gone, is dropped."""
    while data:
        try:
            data = data[os.write(fd, data) :]
        except BlockingIOError:
            return data
        except OSError:
            return b""
    return b""
