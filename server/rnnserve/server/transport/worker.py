"""One worker process as its supervisor sees it: started, watched, ended, and started again after a wait."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence

__all__ = ["Backoff", "Worker"]


@dataclasses.dataclass
class Backoff:
    """How long to wait before a worker is started again: longer each time it dies young.

    Attributes:
        first: Seconds after the first death.
        longest: Seconds at most.
        grown_up: A worker that lived as many seconds starts the count anew.
    """

    first: float = 0.05
    longest: float = 5.0
    grown_up: float = 10.0
    _last: float = dataclasses.field(default=0.0, init=False)

    def seconds_after(self, lived: float) -> float:
        """Say how many seconds to wait after a worker that lived for `lived` seconds."""
        died_young = lived < self.grown_up
        self._last = min(2 * self._last, self.longest) if died_young and self._last else self.first
        return self._last


@dataclasses.dataclass
class _Process:
    """A running process and our ends of its pipes.

    Attributes:
        popen: The process.
        ready_fd: It writes one byte to the other end when it is ready.
        lifeline_fd: It ends when this end is closed.
        started: When it was started, in seconds on the monotonic clock.
        is_ready: Whether it has said that it is ready.
    """

    popen: subprocess.Popen[bytes]
    ready_fd: int
    lifeline_fd: int
    started: float
    is_ready: bool = False


class Worker:
    """A worker's place, and the process that fills it.

    Attributes:
        number: Its number, from 0, for messages.
    """

    def __init__(self, number: int, command: Callable[[Sequence[str]], Sequence[str]]) -> None:
        """Prepare; `start` starts the process.

        Args:
            number: From 0.
            command: Makes the process's command line, which includes the arguments given.
        """
        self.number = number
        self._command = command
        self._backoff = Backoff()
        self._start_at = 0.0
        self._process: _Process | None = None

    @property
    def is_ready(self) -> bool:
        """Whether its process has said that it is ready."""
        return self._process is not None and self._process.is_ready

    @property
    def is_due(self) -> bool:
        """Whether it has no process and the wait after the last one is over."""
        return self._process is None and time.monotonic() >= self._start_at

    def start(self) -> None:
        """Start the process. It says that it is ready on one pipe, and ends when the other one is closed."""
        ready_read, ready_write = os.pipe()
        lifeline_read, lifeline_write = os.pipe()
        os.set_blocking(ready_read, False)
        try:
            popen = subprocess.Popen(  # noqa: S603 - our own command line
                self._command(["--ready-fd", str(ready_write), "--lifeline-fd", str(lifeline_read)]),
                pass_fds=(ready_write, lifeline_read),
                start_new_session=True,  # a Ctrl-C is for the supervisor, which passes it on once
            )
        except OSError:
            os.close(ready_read)
            os.close(lifeline_write)
            raise
        finally:
            os.close(ready_write)
            os.close(lifeline_read)
        self._process = _Process(popen, ready_read, lifeline_write, time.monotonic())

    def look(self) -> int | None:
        """Note whether the process has become ready; return its exit status where it has died."""
        process = self._process
        if process is None:
            return None
        if not process.is_ready:
            with contextlib.suppress(BlockingIOError):
                process.is_ready = os.read(process.ready_fd, 1) == b"1"
        return process.popen.poll()

    def clean_up(self) -> float:
        """Release what the dead process held; return after how many seconds another is started."""
        if self._process is None:
            return 0.0
        os.close(self._process.ready_fd)
        os.close(self._process.lifeline_fd)
        wait = self._backoff.seconds_after(time.monotonic() - self._process.started)
        self._process = None
        self._start_at = time.monotonic() + wait
        return wait

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, where one runs."""
        if self._process is not None and self._process.popen.poll() is None:
            self._process.popen.send_signal(number)

    def wait(self, timeout: float) -> bool:
        """Wait for the process's end; False where it takes longer than `timeout` seconds."""
        if self._process is not None:
            try:
                self._process.popen.wait(timeout)
            except subprocess.TimeoutExpired:
                return False
        return True
