"""Run work that may crash, hang or use all memory in a child process, so that only the child ends.

Some files make onnxruntime end its process: with SIGSEGV or SIGABRT, by an endless Loop in the graph, or by a huge
allocation. The process itself can catch none of these. So rnnserve first tries a
file of unknown origin in a child process. The child runs a module that calls
`rnnserve.common.guarded_work.answer_requests`. It handles any number of requests, one after the other, because its
imports take 0.3 s.

Requests and responses are bytes. Each is preceded by its size in 8 bytes, little-endian.
"""

import os
import select
import signal
import subprocess
import sys
import time
from typing import Final

from rnnserve.common.child_process import ChildProcess, exit_text

__all__ = ["SIZE_BYTES", "GuardedProcess", "ProcessEnded", "ProcessTooSlow"]

SIZE_BYTES: Final = 8
"""Bytes of the size field before each request and each response."""

_BLOCK = 1 << 20


class ProcessEnded(Exception):
    """The process ended during a request. The message contains the reason: "with SIGSEGV"."""


class ProcessTooSlow(Exception):
    """The process hasn't responded in time and is still working."""


class GuardedProcess:
    """A child process that responds to requests. Only one thread may use it, but any thread may call `kill`.

    gRPC requires that the child starts without a fork of this process's threads. It inherits no files of this process,
    not even listening sockets, and writes neither to a terminal nor to the log. It ends when this process ends for any
    reason, even if the child is stopped at that time.
    """

    def __init__(self, *arguments: str, niceness: int = 0) -> None:
        """Start Python with this process's `sys.path` and with arguments: a file, or "-m" and a module.

        This call doesn't wait for the child's imports. `niceness` is as for nice(1). May raise OSError.
        """
        path = os.pathsep.join(entry for entry in sys.path if entry)
        self._child = ChildProcess(
            # -P: don't import from the working directory, which may contain anything.
            [sys.executable, "-P", *arguments],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        if niceness:
            self._child.give_way(niceness)
        self._requests, self._answers = self._child.stdin.fileno(), self._child.stdout.fileno()
        os.set_blocking(self._requests, False)
        os.set_blocking(self._answers, False)
        self._received = bytearray()

    @property
    def pid(self) -> int:
        """The process ID."""
        return self._child.pid

    def send(self, request: bytes, seconds: float) -> None:
        """Send a request within `seconds`. `receive` returns its response. May raise ProcessEnded or ProcessTooSlow."""
        deadline = time.monotonic() + seconds
        for part in (len(request).to_bytes(SIZE_BYTES, "little"), request):
            unsent = memoryview(part)
            while unsent:
                self._wait(self._requests, select.POLLOUT, deadline)
                try:
                    unsent = unsent[os.write(self._requests, unsent[:_BLOCK]) :]
                except BlockingIOError:
                    continue
                except BrokenPipeError:
                    raise self._ended() from None

    def receive(self, seconds: float) -> bytes:
        """Wait for the next response. May raise ProcessEnded, or ProcessTooSlow. After that, you can call it again."""
        deadline = time.monotonic() + seconds
        self._read_to(SIZE_BYTES, deadline)
        end = SIZE_BYTES + int.from_bytes(self._received[:SIZE_BYTES], "little")
        self._read_to(end, deadline)
        answer = bytes(self._received[SIZE_BYTES:end])
        del self._received[:end]
        return answer

    def kill(self) -> None:
        """End the process at once. Any thread may call this. A thread that waits for a response gets ProcessEnded."""
        self._child.send(signal.SIGKILL)

    def close(self) -> None:
        """End the process at once and close its pipes."""
        self._child.kill()

    def _read_to(self, size: int, deadline: float) -> None:
        while len(self._received) < size:
            self._wait(self._answers, select.POLLIN, deadline)
            try:
                block = os.read(self._answers, _BLOCK)
            except BlockingIOError:
                continue
            if not block:
                raise self._ended()
            self._received += block

    def _wait(self, pipe: int, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(pipe, event)
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1e3):
            raise ProcessTooSlow

    def _ended(self) -> ProcessEnded:
        """Wait for the end of a process after it closed its pipes, and return the error for it."""
        self._child.send(signal.SIGKILL)  # no effect if it has already ended
        status = self._child.wait() or 0
        return ProcessEnded(f"with {exit_text(status).removeprefix('signal ')}")
