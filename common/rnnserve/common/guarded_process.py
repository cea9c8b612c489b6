"""A process for work that may crash, hang, or take all memory: then that process ends, and the one that asked does not.

onnxruntime ends its process on some files: with SIGSEGV or SIGABRT, in an endless Loop of the graph, or with an
allocation of any size. None of it can be caught where it happens (docs/lab/findings.md, "onnxruntime"). So a file of
unknown origin is tried in a process of its own first, whose work is in a module that calls
`rnnserve.common.guarded_work.answer_requests`. One process takes any number of requests, one after the other, since
its imports cost 0.3 s.

Requests and answers are bytes. Each is preceded by its size, as 8 bytes, little-endian.
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
"""Bytes of the size before each request and each answer."""

_BLOCK = 1 << 20


class ProcessEnded(Exception):
    """The process ended while it worked. The message says how: "with SIGSEGV"."""


class ProcessTooSlow(Exception):
    """The process has not answered in time, and still works."""


class GuardedProcess:
    """A process that answers requests. For one thread, but for `kill`.

    It starts without a fork of this process's threads, as gRPC demands. It holds no file of this process, not even
    listening sockets, and writes to no terminal or log. It ends when this process ends, for any reason, even if it is
    stopped itself.
    """

    def __init__(self, *arguments: str, niceness: int = 0) -> None:
        """Start Python with this process's `sys.path` and with arguments: a file, or "-m" and a module.

        Its modules are imported while this process goes on. `niceness` is as for nice(1). May raise OSError.
        """
        path = os.pathsep.join(entry for entry in sys.path if entry)
        self._child = ChildProcess(
            # -P: the working directory, which may hold anything, is no place to import from.
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
        """The process's number."""
        return self._child.pid

    def send(self, request: bytes, seconds: float) -> None:
        """Send a request, within `seconds`; `receive` returns the answer. May raise ProcessEnded or ProcessTooSlow."""
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
        """Wait for the next answer. May raise ProcessEnded, or ProcessTooSlow, after which another call waits on."""
        deadline = time.monotonic() + seconds
        self._read_to(SIZE_BYTES, deadline)
        end = SIZE_BYTES + int.from_bytes(self._received[:SIZE_BYTES], "little")
        self._read_to(end, deadline)
        answer = bytes(self._received[SIZE_BYTES:end])
        del self._received[:end]
        return answer

    def kill(self) -> None:
        """End the process at once. Any thread may call this: the thread that waits for an answer gets ProcessEnded."""
        self._child.send(signal.SIGKILL)

    def close(self) -> None:
        """End the process at once, and release what belonged to it."""
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
        """Say how the process ended. Its pipes are closed, so it does end."""
        self._child.send(signal.SIGKILL)  # no effect if it has ended by itself
        status = self._child.wait() or 0
        return ProcessEnded(f"with {exit_text(status).removeprefix('signal ')}")
