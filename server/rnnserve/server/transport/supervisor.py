"""Workers: processes that share one port, and the supervisor that starts, watches and replaces them.

Each worker is a whole server of its own; the kernel distributes connections over those that listen (SO_REUSEPORT). When
one dies, its listening socket closes with it: the others answer on, and a new one takes its place. Requests that a dead
worker had accepted fail with UNAVAILABLE; no others do.

onnxruntime aborts the process on some inputs (docs/findings.md, "onnxruntime"); with workers, such an abort ends one
worker and not the service.
"""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence

from rnnserve.server.errors import StartError
from rnnserve.server.transport.worker import Worker

__all__ = ["Supervisor", "worker_count"]

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.02
"""Seconds between two looks at the workers: how long a dead one remains unnoticed."""

_END_SECONDS = 2.0
"""Seconds, beyond the grace for their requests, that workers may take to end."""


def worker_count(text: str) -> int:
    """Turn "auto" into one worker a core that this process may use, and a number into itself.

    Raises:
        ValueError: If it is neither.
    """
    if text == "auto":
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ValueError(f"{text!r} is neither auto nor a number of 1 or more")
    return int(text)


class Supervisor:
    """Keep a number of workers running until it is told to stop."""

    def __init__(self, command: Callable[[Sequence[str]], Sequence[str]], count: int) -> None:
        """Prepare; `run` starts them.

        Args:
            command: Makes a worker's command line from the arguments for it alone, `--ready-fd` and `--lifeline-fd`.
            count: How many workers.
        """
        self._workers = [Worker(number, command) for number in range(count)]
        self._told_to_stop = threading.Event()

    def stop(self) -> None:
        """Let the workers finish what they have, and end. May be called from a signal handler."""
        self._told_to_stop.set()

    def run(self, on_ready: Callable[[], None], *, grace: float) -> None:
        """Start the workers, and replace those that die, until `stop` is called.

        Args:
            on_ready: Called when all of them are ready for the first time.
            grace: How many seconds their requests in progress may take to end.

        Raises:
            StartError: If one dies before it has ever been ready: it would die again and again.
        """
        try:
            for worker in self._workers:
                worker.start()
            self._wait_until_ready()
            if not self._told_to_stop.is_set():
                on_ready()
            while not self._told_to_stop.wait(_LOOK_SECONDS):
                for worker in self._workers:
                    self._replace_if_dead(worker)
        finally:
            self._end(grace)

    def _wait_until_ready(self) -> None:
        while not self._told_to_stop.wait(_LOOK_SECONDS):
            for worker in self._workers:
                status = worker.look()
                if status is not None:
                    raise StartError(f"worker {worker.number} ended before it was ready, with {_exit_text(status)}")
            if all(worker.is_ready for worker in self._workers):
                return

    def _replace_if_dead(self, worker: Worker) -> None:
        was_ready = worker.is_ready
        status = worker.look()
        if worker.is_ready and not was_ready:
            _log.info("worker %d is ready again", worker.number)
        if status is not None:
            wait = worker.clean_up()
            _log.error("worker %d died with %s; another starts in %.2f s", worker.number, _exit_text(status), wait)
        elif worker.is_due:
            worker.start()

    def _end(self, grace: float) -> None:
        for worker in self._workers:
            worker.signal(signal.SIGTERM)
        deadline = time.monotonic() + grace + _END_SECONDS
        for worker in self._workers:
            if not worker.wait(max(0.0, deadline - time.monotonic())):
                _log.error("worker %d did not end in time", worker.number)
                worker.signal(signal.SIGKILL)
                worker.wait(_END_SECONDS)
            worker.clean_up()


def _exit_text(status: int) -> str:
    """An exit status as text."""
    return f"exit status {status}" if status >= 0 else f"signal {signal.Signals(-status).name}"
