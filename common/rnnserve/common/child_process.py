"""Child processes: start, watch, restart after a delay, and end within a time limit.

A child ends with this process, whatever ends this process and even if the child is stopped at that time. The kernel
kills the child when the thread that started it ends (`die_with_parent`). So one thread that lives as long as this
process starts all children. The child's standard input is a pipe that closes when this process ends. It covers the
time until the child has set this up.
"""

import contextlib
import ctypes
import errno
import functools
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from typing import IO, Any

__all__ = ["LIFELINE", "ChildProcess", "KeptProcess", "die_with_parent", "exit_text", "restart_delay"]

LIFELINE = "--lifeline"
"""The option of our commands to end with the process that started them. They then call `die_with_parent`."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

_starters: dict[int, futures.Executor] = {}
"""By process id, because forks lose their parent's threads: the thread that starts all children. It lives as long."""


class ChildProcess:
    """A process that ends with this one. Thread-safe.

    gRPC requires that it starts without a fork of this process's threads. It has its own session, so that a Ctrl-C
    reaches only this process, which then ends the child.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        pass_fds: Sequence[int] = (),
        env: Mapping[str, str] | None = None,
        stdin: int = subprocess.PIPE,
        **streams: Any,  # noqa: ANN401 - stdout, stderr and text, as of subprocess.Popen
    ) -> None:
        """Start `command`. It inherits the descriptors `pass_fds`. May raise OSError."""
        start = functools.partial(
            subprocess.Popen, command, pass_fds=pass_fds, start_new_session=True, env=env, stdin=stdin
        )
        try:
            starter = _starters.setdefault(os.getpid(), futures.ThreadPoolExecutor(1, "starter"))
            self._popen: subprocess.Popen[Any] = starter.submit(start, **streams).result()
        except RuntimeError as error:  # this process has reached its limit of threads
            raise OSError(errno.EAGAIN, str(error)) from error
        if self._popen.stdin is not None:
            os.set_blocking(self._popen.stdin.fileno(), False)

    @property
    def pid(self) -> int:
        """The process ID."""
        return self._popen.pid

    @property
    def stdout(self) -> IO[Any]:
        """The child's standard output, which must be a pipe."""
        assert self._popen.stdout is not None  # noqa: S101 - for the type checker
        return self._popen.stdout

    def status(self) -> int | None:
        """Return the exit status, or None while the process runs."""
        return self._popen.poll()

    def wait(self, seconds: float | None = None) -> int | None:
        """Wait until the process ends, at most `seconds`. Returns the exit status, or None if it still runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._popen.wait(seconds)
        return None

    def tell(self, line: bytes) -> None:
        """Write a short line to the child's standard input. Nothing happens if the child has ended or doesn't read."""
        if self._popen.stdin is not None and not self._popen.stdin.closed:
            with contextlib.suppress(BlockingIOError, BrokenPipeError):
                os.write(self._popen.stdin.fileno(), line)

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        self._popen.send_signal(number)

    def end(self, seconds: float) -> int:
        """Send SIGTERM, and kill the process if it hasn't ended after `seconds`. Returns the exit status."""
        self.send(signal.SIGTERM)
        self.wait(seconds)
        return self.kill()

    def kill(self) -> int:
        """Kill the process if it still runs, and close its pipes. Returns the exit status."""
        self._popen.kill()
        status = self._popen.wait()
        self.close()
        return status

    def close(self) -> None:
        """Close the pipes. A running child may assume that this process has ended."""
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                pipe.close()


class KeptProcess:
    """Keeps a child running: whenever the child ends, a thread starts another one after a delay."""

    def __init__(self, name: str, start: Callable[[], ChildProcess], report: Callable[[str, float], None]) -> None:
        """Prepare. The method `start` starts the first child.

        Args:
            name: Name of the thread.
            start: Starts a child. If it raises OSError, it is called again later.
            report: Called after each child with how it ended and the seconds until the next start.
        """
        self._start, self._report = start, report
        self._is_ending = threading.Event()
        self._lock = threading.Lock()  # for _child, so that `end` signals the current child
        self._child: ChildProcess | None = None
        self._thread = threading.Thread(target=self._keep, name=name, daemon=True)

    def start(self) -> None:
        """Start the child and keep one running."""
        self._thread.start()

    def end(self) -> None:
        """Send SIGTERM to the child, and start no other."""
        with self._lock:
            self._is_ending.set()
            if self._child is not None:
                self._child.send(signal.SIGTERM)

    def wait(self, seconds: float) -> bool:
        """Wait after `end` until the child has ended. Returns False if it still runs after `seconds`."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def kill(self) -> None:
        """End the child at once."""
        self.end()
        with self._lock:
            if self._child is not None:
                self._child.send(signal.SIGKILL)
        self._thread.join()

    def _keep(self) -> None:
        wait = 0.0
        while not self._is_ending.wait(wait):
            started = time.monotonic()
            try:
                with self._lock:
                    if self._is_ending.is_set():
                        return
                    child = self._child = self._start()
            except OSError as error:
                ended = f"cannot start: {error.strerror or error}"
            else:
                child.wait()
                with self._lock:
                    self._child = None
                    ended = f"ended with {exit_text(child.kill())}"
            wait = restart_delay(wait, time.monotonic() - started, grown_up=10.0)
            if not self._is_ending.is_set():
                self._report(ended, wait)


def restart_delay(last: float, lived: float, grown_up: float = 1.0) -> float:
    """Return the seconds before a restart. They double up to 5 each time the process has lived less than `grown_up`."""
    return min(2 * last, 5.0) if last and lived < grown_up else 0.05


def exit_text(status: int) -> str:
    """Return an exit status as text: "exit status 1", "signal SIGKILL"."""
    if status >= 0:
        return f"exit status {status}"
    with contextlib.suppress(ValueError):
        return f"signal {signal.Signals(-status).name}"
    return f"signal {-status}"


def die_with_parent() -> None:
    """Make the kernel kill this process when the *thread* that started it ends (prctl(2), PR_SET_PDEATHSIG).

    Standard input must be a pipe that only the parent process holds open. If the parent has already ended, the kernel
    sends no signal, so this function ends the process.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    poll = select.poll()
    poll.register(sys.stdin.fileno(), 0)  # POLLHUP is reported in any case
    if any(event & select.POLLHUP for _, event in poll.poll(0)):
        os._exit(0)
