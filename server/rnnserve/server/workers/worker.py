"""One worker process as its supervisor sees it: what it said last, for how long it has been silent, how it ended."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence

from rnnserve.common.child_process import LIFELINE, ChildProcess
from rnnserve.server.counting.exposition import Totals
from rnnserve.server.counting.table import CountTable
from rnnserve.server.repository.model_state import ModelState
from rnnserve.server.workers.heartbeat import DRAIN, LISTEN, Heartbeat

__all__ = ["Worker"]

_SILENT_SECONDS = 10.0
"""Seconds without a heartbeat: heartbeats come every second, later only on a machine with more to do than it can, or
when something keeps Python's lock. Beyond it: the worker is replaced."""

_STOPPED_SECONDS = 2.0
"""The same of a worker whose process is stopped (SIGSTOP), of which the kernel says so."""


class Worker:
    """A worker's process. For one thread.

    Attributes:
        number: The number of its place, from 0, for messages.
        may_listen: Whether it has been told that it may listen.
        loaded_at: When its first heartbeat came, which is when it had loaded, on the monotonic clock; None before.
    """

    def __init__(self, number: int, command: Callable[[Sequence[str]], Sequence[str]], totals: Totals) -> None:
        """Start it.

        Args:
            number: The number of its place.
            command: A function that makes its command line from further arguments.
            totals: Sum of what workers count.

        Raises:
            OSError: If no process can be started.
        """
        self.number = number
        self._totals = totals
        self._heartbeat = Heartbeat({})
        self._beat_at = time.monotonic()
        self._unread = b""
        self.loaded_at: float | None = None
        self.may_listen = False
        with contextlib.ExitStack() as stack:
            self._report_fd, report_write = os.pipe()
            stack.callback(os.close, self._report_fd)
            self._table = CountTable()
            stack.callback(self._table.close)
            words = [LIFELINE, "--report-fd", str(report_write), "--counts-fd", str(self._table.descriptor)]
            passed = [report_write, self._table.descriptor]
            try:
                self._child = ChildProcess(command(words), pass_fds=passed)
            finally:
                os.close(report_write)
            stack.pop_all()
        os.set_blocking(self._report_fd, False)
        self.report_fd: int | None = self._report_fd
        totals.add(self._table)

    @property
    def models(self) -> dict[str, ModelState]:
        """The models, as it said last."""
        return self._heartbeat.models

    @property
    def is_listening(self) -> bool:
        """Whether it listens, as it said last."""
        return self._heartbeat.is_listening

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._child.pid

    def look(self) -> int | None:
        """Read what it has said; return its exit status if it has ended."""
        status = self._child.status()  # first, so that all that it has said is read, too
        with contextlib.suppress(BlockingIOError):
            while self.report_fd is not None:
                said = os.read(self.report_fd, 1 << 16)
                if not said:
                    self.report_fd = None
                *lines, self._unread = (self._unread + said).split(b"\n")
                for line in lines:
                    self._take(line)
        return status

    def why_replaced(self) -> tuple[str, str] | None:
        """Say why it has to be replaced, in a word for the metrics and in words for the log; None if it doesn't."""
        silence = 0.0 if self.loaded_at is None else time.monotonic() - self._beat_at
        if self._heartbeat.stuck:
            return "hung", f"is stuck, {self._heartbeat.stuck}"
        if silence > _STOPPED_SECONDS and self._child.is_stopped():
            return "stopped", f"is stopped, for {silence:.1f} s at least"
        if silence > _SILENT_SECONDS:
            return "hung", f"has made no progress for {silence:.1f} s"
        return None

    def excuse(self) -> None:
        """Begin to count its silence anew: it was not listened to, either."""
        self._beat_at = time.monotonic()

    def let_listen(self) -> None:
        """Let it listen, once it has loaded."""
        self.may_listen = True
        self._child.tell(LISTEN)

    def drain(self) -> None:
        """Have it say from now on that it isn't ready; it answers as before."""
        self._child.tell(DRAIN)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        self._child.send(number)

    def kill(self) -> None:
        """End it at once, if it runs, and release what it held."""
        self._child.kill()
        os.close(self._report_fd)
        self.report_fd = None
        self._totals.keep(self._table)

    def _take(self, line: bytes) -> None:
        with contextlib.suppress(ValueError, TypeError):  # what libraries print is no heartbeat
            self._heartbeat = Heartbeat.read(line)
            self._beat_at = time.monotonic()
            if self.loaded_at is None:
                self.loaded_at = self._beat_at
