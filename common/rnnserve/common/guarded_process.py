"""Run work that may crash, hang or use all memory in a child process, so that only the child ends.

Some files make onnxruntime end its process: with SIGSEGV or SIGABRT, by an endless Loop in the graph, or by a huge
allocation. The process itself can catch none of these. So rnnserve first tries a
file of unknown origin in a child process. The child runs a module that calls `answer_requests`. It handles any number
of requests, one after the other, because its imports take 0.3 s. Requests and responses are bytes.
"""

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from rnnserve.common.child_process import ChildProcess, die_with_parent, exit_text

__all__ = ["GuardedProcess", "ProcessEnded", "ProcessTooSlow", "answer_requests", "limit_memory"]


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
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._child = ChildProcess(
                # -P: don't import from the working directory, which may contain anything.
                [sys.executable, "-P", *arguments],
                env={**os.environ, "PYTHONPATH": path},
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            self._connection = Connection(ours.detach())
        with contextlib.suppress(OSError):  # the child has ended, or this process lacks the permission
            os.setpriority(os.PRIO_PROCESS, self.pid, os.getpriority(os.PRIO_PROCESS, 0) + niceness)

    @property
    def pid(self) -> int:
        """The process ID."""
        return self._child.pid

    def send(self, request: bytes) -> None:
        """Send a request. `receive` returns its response. May raise ProcessEnded."""
        try:
            self._connection.send_bytes(request)
        except OSError:
            raise self._ended() from None

    def receive(self, seconds: float) -> bytes:
        """Wait for the next response. May raise ProcessEnded, or ProcessTooSlow. After that, you can call it again."""
        try:
            if not self._connection.poll(max(0.0, seconds)):
                raise ProcessTooSlow
            return self._connection.recv_bytes()
        except (EOFError, OSError):
            raise self._ended() from None

    def kill(self) -> None:
        """End the process at once. Any thread may call this. A thread that waits for a response gets ProcessEnded."""
        self._child.send(signal.SIGKILL)

    def close(self) -> None:
        """End the process at once and close the connection to it."""
        self._child.kill()
        self._connection.close()

    def _ended(self) -> ProcessEnded:
        """Wait for the end of a process after it closed its end, and return the error for it."""
        self._child.send(signal.SIGKILL)  # no effect if it has already ended
        status = self._child.wait() or 0
        return ProcessEnded(f"with {exit_text(status).removeprefix('signal ')}")


def answer_requests(answer: Callable[[bytes], bytes]) -> None:
    """In the child: send an empty response when it is ready, then handle requests until the parent closes its end.

    An exception of `answer` ends this process.
    """
    die_with_parent()
    connection = Connection(os.dup(sys.stdin.fileno()))
    # Disable core dumps: a model that crashes on every load would fill the disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Path("/proc/self/oom_score_adj").write_text("1000")  # if memory runs out, the kernel kills this process first
    connection.send_bytes(b"")
    with contextlib.suppress(EOFError):
        while True:
            connection.send_bytes(answer(connection.recv_bytes()))


def limit_memory(more: int) -> None:
    """Let this process allocate at most `more` bytes beyond its present memory. Replaces an earlier limit.

    The limit is RLIMIT_DATA, which counts private writable memory. RLIMIT_AS would also count reserved address space.
    CUDA reserves hundreds of gigabytes of it.
    """
    (held,) = re.findall(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())
    soft, hard = (int(held) << 10) + more, resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))
