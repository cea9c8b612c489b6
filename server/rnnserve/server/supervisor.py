"""Workers: processes that share one port, and the supervisor that starts, watches and replaces them.

Each worker is a whole server of its own; the kernel shares connections out among those that listen (SO_REUSEPORT). When
one dies, its listening socket dies with it: the others answer on, and a new one takes its place. What a dead worker had
in hand fails for its callers with UNAVAILABLE; nothing else does.

onnxruntime aborts the process on some inputs (FINDINGS), so this is also what keeps a crash from being the service's.
"""

import contextlib
import dataclasses
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence

from rnnserve.server.errors import StartError

__all__ = ["Backoff", "Supervisor", "count_of"]

_log = logging.getLogger(__name__)

_LOOK = 0.02
"""Seconds between two looks at the workers: how long a dead one goes unnoticed."""


def count_of(asked: str) -> int:
    """Turn "auto" into one worker a core that this process may use, and a number into itself.

    Raises:
        ValueError: If it is neither.
    """
    if asked == "auto":
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not (asked.isascii() and asked.isdigit() and int(asked) > 0):
        raise ValueError(f"{asked!r} is neither auto nor a number of 1 or more")
    return int(asked)


@dataclasses.dataclass
class Backoff:
    """How long to wait before a worker is started again: longer each time it dies young.

    Attributes:
        first: Seconds after the first death.
        most: Seconds at the most.
        old_age: A worker that lived as many seconds starts the count anew.
    """

    first: float = 0.05
    most: float = 5.0
    old_age: float = 10.0
    _next: float = dataclasses.field(default=0.0, init=False)

    def after(self, lived: float) -> float:
        """Say how many seconds to wait after a worker that lived for `lived` seconds."""
        self._next = self.first if lived >= self.old_age or not self._next else min(2 * self._next, self.most)
        return self._next


class _Worker:
    """A worker's place, and the process that fills it."""

    def __init__(self, number: int, command: Sequence[str]) -> None:
        self.number = number
        self._command = command
        self._backoff = Backoff()
        self._lifeline: int | None = None
        self.start_at = 0.0
        self.started = 0.0
        self.ready = False
        self.process: subprocess.Popen[bytes] | None = None
        self._ready_pipe: int | None = None

    def start(self) -> None:
        """Start the process. It says that it is ready on one pipe, and ends when the other one does."""
        ready_read, ready_write = os.pipe()
        lifeline_read, lifeline_write = os.pipe()
        os.set_blocking(ready_read, False)
        try:
            self.process = subprocess.Popen(  # noqa: S603 - our own command line
                [*self._command, "--ready-fd", str(ready_write), "--lifeline-fd", str(lifeline_read)],
                pass_fds=(ready_write, lifeline_read),
                start_new_session=True,  # a Ctrl-C is for the supervisor, which passes it on once
            )
        finally:
            os.close(ready_write)
            os.close(lifeline_read)
        self._ready_pipe, self._lifeline = ready_read, lifeline_write
        self.started, self.ready = time.monotonic(), False

    def look(self) -> int | None:
        """Note whether it has become ready; return its exit status where it has died."""
        if self.process is None:
            return None
        if not self.ready and self._ready_pipe is not None:
            with contextlib.suppress(BlockingIOError):
                self.ready = os.read(self._ready_pipe, 1) == b"1"
        return self.process.poll()

    def bury(self) -> float:
        """Forget the dead process; return after how many seconds to start another."""
        for pipe in (self._ready_pipe, self._lifeline):
            if pipe is not None:
                os.close(pipe)
        self._ready_pipe = self._lifeline = self.process = None
        self.ready = False
        return self._backoff.after(time.monotonic() - self.started)

    def end(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)


class Supervisor:
    """Keeps a number of workers running until it is told to stop."""

    def __init__(self, command: Sequence[str], count: int) -> None:
        """Prepare; `run` starts them.

        Args:
            command: What starts a worker: it takes `--ready-fd` and `--lifeline-fd`.
            count: How many.
        """
        self._workers = [_Worker(number, command) for number in range(count)]
        self._told_to_stop = threading.Event()

    def stop(self) -> None:
        """Let the workers finish what they have, and end. May be called from a signal handler."""
        self._told_to_stop.set()

    def run(self, on_ready: Callable[[], None], *, grace: float) -> None:
        """Start the workers, and replace those that die, until `stop` is called.

        Args:
            on_ready: Called when all of them are ready for the first time.
            grace: How many seconds they may take to end.

        Raises:
            StartError: If one dies before it has ever been ready: it would die again and again.
        """
        try:
            for worker in self._workers:
                worker.start()
            self._wait_until_ready()
            if not self._told_to_stop.is_set():
                on_ready()
            while not self._told_to_stop.wait(_LOOK):
                for worker in self._workers:
                    self._replace_if_dead(worker)
        finally:
            self._end(grace)

    def _wait_until_ready(self) -> None:
        while not self._told_to_stop.wait(_LOOK):
            for worker in self._workers:
                status = worker.look()
                if status is not None:
                    raise StartError(f"worker {worker.number} ended before it was ready, with {_said(status)}")
            if all(worker.ready for worker in self._workers):
                return

    def _replace_if_dead(self, worker: _Worker) -> None:
        was_ready = worker.ready
        status = worker.look()
        if worker.ready and not was_ready:
            _log.info("worker %d is ready again", worker.number)
        if status is not None:
            wait = worker.bury()
            worker.start_at = time.monotonic() + wait
            _log.error("worker %d died with %s; another starts in %.2f s", worker.number, _said(status), wait)
        elif worker.process is None and time.monotonic() >= worker.start_at:
            worker.start()

    def _end(self, grace: float) -> None:
        for worker in self._workers:
            worker.end(signal.SIGTERM)
        deadline = time.monotonic() + grace + 2.0
        for worker in self._workers:
            if worker.process is None:
                continue
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _log.error("worker %d did not end in time", worker.number)
                worker.end(signal.SIGKILL)
                worker.process.wait()
            worker.bury()


def _said(status: int) -> str:
    """An exit status in words."""
    return f"exit status {status}" if status >= 0 else f"signal {signal.Signals(-status).name}"
