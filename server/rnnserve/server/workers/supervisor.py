"""Workers: processes that share one port, and the supervisor that starts, watches and replaces them.

Each worker is a whole server of its own; the kernel distributes connections over those that listen (SO_REUSEPORT). When
one dies, its listening sockets close with it: the others answer on, and a new one takes its place, which listens when
it has loaded. Requests that a dead worker had accepted, and connections that it had not accepted yet, fail with
UNAVAILABLE; no others do. One that lives but makes no progress is killed, and replaced the same way.

SIGHUP restarts all of them without failing a request: workers of a new generation load what the repository holds now,
listen when all have, and then those of the old one leave (`GrpcServer.leave`).

onnxruntime aborts the process on some inputs (docs/lab/findings.md, "onnxruntime"); with workers, such an abort ends
one worker and not the service.
"""

import dataclasses
import functools
import logging
import select
import signal
import time
from collections.abc import Callable, Sequence

from rnnserve.server.counting.places import NOT_RELOADED, RELOADED
from rnnserve.server.counting.table import count_in_process
from rnnserve.server.counting.totals import Totals
from rnnserve.server.errors import StartError
from rnnserve.server.workers.generation import Generation, exit_text
from rnnserve.server.workers.messages import Counts, Failed, Sum, Want
from rnnserve.server.workers.signals import SAME_SECONDS, SignalPipe
from rnnserve.server.workers.worker_process import Worker

__all__ = ["Supervisor"]

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.05
"""Seconds between two looks at the workers, where none says anything. One that dies is noticed at once: its pipe
ends."""

_LATE_SECONDS = 1.0
"""Seconds between two looks after which the supervisor itself was kept from running, as workers may have been: by a
machine that slept, for example. Their silence is not counted."""

_END_SECONDS = 5.0
"""Seconds, beyond the grace for their requests, that workers may take to end: 50 of them on two cores take 4."""

_STACKS_SECONDS = 0.5
"""Seconds that workers have to show their stacks at SIGQUIT, which ends them."""


@dataclasses.dataclass
class _Leaving:
    """A worker whose successors listen.

    Attributes:
        worker: The worker.
        deadline: When it is ended, in seconds on the monotonic clock.
    """

    worker: Worker
    deadline: float


class Supervisor:
    """Keep a number of workers running until it is told to stop."""

    def __init__(
        self,
        command: Callable[[Sequence[str]], Sequence[str]],
        count: int,
        signals: SignalPipe,
        *,
        grace: float,
        leave: float,
        poll: float | None = None,
        load_timeout: float = 60.0,
        terminal_has_gone: Callable[[], bool] = lambda: False,
        totals: Totals | None = None,
    ) -> None:
        """Prepare; `run` starts the workers.

        Args:
            command: A function that makes a worker's command line from the arguments for it alone, `--report-fd` and
                others.
            count: Number of workers.
            signals: SIGTERM and SIGINT end the workers, a second one at once; SIGHUP restarts them. SIGUSR1 and SIGQUIT
                are passed on.
            grace: Seconds that their requests in progress may take to end.
            leave: Seconds that their clients may take to leave them when they are restarted.
            poll: Seconds between looks at the repository; None for not by themselves.
            load_timeout: Seconds that they may take to load what one of them has loaded.
            terminal_has_gone: A function that says, at SIGHUP, whether that is why it came.
            totals: Sum of what the workers count; None where no one asks.
        """
        self._signals = signals
        self._terminal_has_gone = terminal_has_gone
        self._grace = grace
        self._leave = leave
        self._new_generation = functools.partial(
            Generation, command, count, poll=poll, timeout=load_timeout, totals=totals
        )
        self._current = self._new_generation()
        self._next: Generation | None = None
        self._leaving: list[_Leaving] = []
        self._is_restart_asked = False
        self._ends: list[signal.Signals] = []  # the signals so far that ask for the end
        self._asked_at = 0.0

    def run(self, on_ready: Callable[[], None]) -> int:
        """Start the workers, and replace those that die or hang, until a signal asks for the end.

        Args:
            on_ready: A function that is called when all of them are ready for the first time.

        Returns:
            The exit status: 0, or 128 and the signal's number where a second signal asked for the end at once.

        Raises:
            StartError: If one dies before all were ready for the first time: it would die again and again.
        """
        is_ready = False
        looked = time.monotonic()
        try:
            while not self._ends:
                if time.monotonic() - looked > _LATE_SECONDS:
                    self._current.excuse()
                looked = time.monotonic()
                self._current.look()
                if self._current.is_ready:
                    if not is_ready:
                        is_ready = True
                        on_ready()
                    self._restart()
                self._let_leave()
                self._wait()
        finally:
            self._end()
        return 128 + self._ends[1] if len(self._ends) > 1 else 0

    def _restart(self) -> None:
        """Take the next step of a restart, where one was asked for."""
        if self._is_restart_asked:
            self._is_restart_asked = False
            self._give_up_restart()
            _log.info("SIGHUP: new workers load what the repository holds now")
            self._next = self._new_generation()
        if self._next is None:
            return
        try:
            self._next.look()
        except StartError as error:
            _log.error("SIGHUP: %s; the workers that there are serve on", error)
            count_in_process(NOT_RELOADED)
            self._give_up_restart()
            return
        if self._next.is_ready:
            deadline = time.monotonic() + self._leave + self._grace + _END_SECONDS
            for worker in self._current.workers:
                worker.signal(signal.SIGHUP)
                self._leaving.append(_Leaving(worker, deadline))
            self._current, self._next = self._next, None
            count_in_process(RELOADED)
            _log.info("SIGHUP: the new workers are ready; the others leave within %g s", self._leave + self._grace)

    def _give_up_restart(self) -> None:
        """End the workers of a restart under way, which have not listened yet."""
        if self._next is not None:
            for worker in self._next.workers:
                worker.kill()
        self._next = None

    def _let_leave(self) -> None:
        """Release the workers that have left; kill those that should have."""
        for leaving in list(self._leaving):
            worker = leaving.worker
            status = worker.look()
            for message in worker.take_said():
                match message:
                    case Want():
                        worker.tell(Failed("the workers are being replaced: ask again"))
                    case Sum(number):  # it has no others any more
                        worker.tell(Counts(number, ()))
            if status is None and worker.has_process:
                if time.monotonic() < leaving.deadline:
                    continue
                _log.error("worker %d did not leave in time: it is killed", worker.number)
                worker.kill()
            elif status:
                _log.error("worker %d, which was leaving, died with %s", worker.number, exit_text(status))
            worker.clean_up()
            self._leaving.remove(leaving)

    def _wait(self) -> None:
        """Wait until a worker says something or ends, a signal arrives, or it is time for another look."""
        poll = select.poll()
        poll.register(self._signals.fd, select.POLLIN)
        for worker in self._all():
            if worker.report_fd is not None:
                poll.register(worker.report_fd, select.POLLIN)
        for fd, _ in poll.poll(1e3 * _LOOK_SECONDS):
            if fd == self._signals.fd:
                self._take_signals()

    def _take_signals(self) -> None:
        for number in self._signals.read():
            if number == signal.SIGUSR2:
                _log.warning("SIGUSR2 means nothing here, and changes nothing; SIGUSR1 shows what each thread does")
            elif number == signal.SIGUSR1:  # this process's own stacks have been shown
                self._pass_on(number)
            elif number == signal.SIGHUP and not self._terminal_has_gone():
                self._is_restart_asked = True
            elif number == signal.SIGQUIT:
                self._pass_on(number)
                self._ends = [number, number]
            elif not self._ends:
                if number == signal.SIGHUP:
                    _log.warning("SIGHUP: the terminal has gone, and the workers end; with nohup they would stay")
                else:
                    _log.info("%s: the workers end", number.name)
                self._ends, self._asked_at = [number], time.monotonic()
            elif number != signal.SIGHUP and time.monotonic() - self._asked_at > SAME_SECONDS:
                self._ends.append(number)

    def _pass_on(self, number: signal.Signals) -> None:
        for worker in self._all():
            worker.signal(number)

    def _all(self) -> list[Worker]:
        """The workers of every generation."""
        following = self._next.workers if self._next is not None else []
        return [*self._current.workers, *following, *(leaving.worker for leaving in self._leaving)]

    def _end(self) -> None:
        """End all workers: with grace, or at once where a second signal comes."""
        workers = [worker for worker in self._all() if worker.has_process]
        if self._ends == [signal.SIGQUIT] * 2:
            time.sleep(_STACKS_SECONDS)
        for worker in workers:
            worker.signal(signal.SIGTERM)
        deadline = time.monotonic() + self._grace + _END_SECONDS
        while workers and len(self._ends) < 2 and time.monotonic() < deadline:
            self._wait()
            for worker in workers:
                if worker.look() is not None:
                    worker.clean_up()
            workers = [worker for worker in workers if worker.has_process]
        for worker in workers:
            if len(self._ends) < 2:
                _log.error("worker %d did not end in time: it is killed", worker.number)
            worker.kill()
