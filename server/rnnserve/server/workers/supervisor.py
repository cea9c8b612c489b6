"""The supervisor: starts workers on one shared port, replaces dead or hung workers, and rolls all of them at SIGHUP.

Each worker is a complete server that loads and watches the repository. The kernel distributes connections over the
listening workers (SO_REUSEPORT). When a worker dies, its listening socket closes with it. The other workers keep
serving, and a new worker takes its place. Requests that the dead worker had accepted, and connections in its accept
queue, fail with UNAVAILABLE.

A worker that starts while others serve listens only after it serves the same models, if the repository still has them.
Damaged files therefore don't take a model out of service while a worker has it in memory.
"""

import contextlib
import dataclasses
import logging
import os
import select
import signal
import time
from collections.abc import Callable, Sequence

from rnnserve.common.cgroup import usable_cores
from rnnserve.common.child_process import LIFELINE, ChildProcess, exit_text, restart_delay
from rnnserve.server.counting.exposition import Totals
from rnnserve.server.counting.places import NOT_RELOADED, RELOADED, WORKER_RESTARTS
from rnnserve.server.counting.table import CountTable, count_in_process
from rnnserve.server.errors import StartError
from rnnserve.server.repository.model_state import ModelState, lost_models
from rnnserve.server.signals import SAME_SECONDS, SignalPipe
from rnnserve.server.system import why_no_resource
from rnnserve.server.workers.heartbeat import DRAIN, LISTEN, Heartbeat

__all__ = ["Supervisor", "Worker"]

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.05
"""Seconds between checks of the workers if no message arrives. The end of a worker is noticed at once because its pipe
closes."""

_LATE_SECONDS = 1.0
"""If two checks are further apart than this many seconds, the supervisor itself was suspended, and maybe its workers as
well, for example because the machine slept. The workers' silence then doesn't count."""

_END_SECONDS = 5.0
"""Seconds that workers may take to end after the grace period for their requests. 50 workers on two cores take 4 s."""

_HELD_SECONDS = 60.0
"""Seconds for which a worker that serves less than the others may be kept from listening. Beyond it: the worker is
killed, and a new one loads the repository."""

_SILENT_SECONDS = 10.0
"""Seconds without a heartbeat. Heartbeats come every second, and later only if the machine is overloaded or something
holds Python's GIL. Beyond it: the worker is replaced."""


class Worker:
    """A worker as seen by the supervisor. `loaded_at` is the time of its first heartbeat on the monotonic clock."""

    def __init__(self, number: int, command: Callable[[Sequence[str]], Sequence[str]], totals: Totals) -> None:
        """Start the worker. Raise OSError if no process can be started."""
        self.number = number  # of its place, from 0
        self._totals = totals
        self.models: dict[str, ModelState] = {}  # by its last heartbeat
        self.is_listening = False  # by its last heartbeat
        self._stuck = ""
        self._beat_at = time.monotonic()
        self._unread = b""
        self.loaded_at: float | None = None
        self.may_listen = False  # whether the supervisor has allowed it to listen
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
        self.report_fd: int | None = self._report_fd  # read end of its heartbeats (None once closed)
        self.pid = self._child.pid
        totals.add(self._table)

    def look(self) -> int | None:
        """Read new heartbeats. Return the exit status if the worker has ended."""
        status = self._child.status()  # before reading, so that the last heartbeats are included
        with contextlib.suppress(BlockingIOError):
            while self.report_fd is not None:
                said = os.read(self.report_fd, 1 << 16)
                if not said:
                    self.report_fd = None
                *lines, self._unread = (self._unread + said).split(b"\n")
                for line in lines:
                    self._take(line)
        return status

    def why_hung(self) -> str | None:
        """Return why the worker counts as hung and must be replaced, or None."""
        silence = 0.0 if self.loaded_at is None else time.monotonic() - self._beat_at
        if self._stuck:
            return f"is stuck, {self._stuck}"
        return f"has made no progress for {silence:.1f} s" if silence > _SILENT_SECONDS else None

    def excuse(self) -> None:
        """Reset the worker's silence, because the supervisor was not listening."""
        self._beat_at = time.monotonic()

    def let_listen(self) -> None:
        """Allow the worker to listen after it has loaded its models."""
        self.may_listen = True
        self._child.tell(LISTEN)

    def drain(self) -> None:
        """Make the worker report that it isn't ready. It still serves requests."""
        self._child.tell(DRAIN)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the worker if it runs."""
        self._child.send(number)

    def kill(self) -> None:
        """Kill the worker if it runs, and release its resources."""
        self._child.kill()
        os.close(self._report_fd)
        self.report_fd = None
        self._totals.keep(self._table)

    def _take(self, line: bytes) -> None:
        with contextlib.suppress(ValueError, TypeError):  # skips lines printed by libraries
            said = Heartbeat.read(line)
            self.models, self.is_listening, self._stuck = said.models, said.is_listening, said.stuck
            self._beat_at = time.monotonic()
            if self.loaded_at is None:
                self.loaded_at = self._beat_at


@dataclasses.dataclass
class _Place:
    """The place of a worker."""

    number: int
    worker: Worker | None = None
    start_at: float = 0.0  # earliest start of the next worker, on the monotonic clock
    said_lost: str = ""  # models that the worker doesn't serve, as last logged
    wait: float = 0.0  # seconds before the last restart


class Supervisor:
    """Keeps a number of workers running until a signal requests the end."""

    def __init__(
        self,
        command: Callable[[Sequence[str]], Sequence[str]],
        count: int,
        signals: SignalPipe,
        *,
        drain: float,
        grace: float,
        end_gateway: Callable[[], bool] = lambda: True,
        totals: Totals | None = None,
    ) -> None:
        """Create the supervisor. `run` starts the workers.

        `command` returns a worker's command line for the arguments of that worker. `end_gateway` ends the HTTP gateway
        before the workers, and returns whether it has ended.
        """
        self._command = command
        self._signals = signals
        self._drain, self._grace = drain, grace
        self._end_gateway = end_gateway
        self._totals = totals or Totals()
        self._places = [_Place(number) for number in range(count)]
        self._is_ready = False
        self._to_roll: list[_Place] = []  # places whose workers are still to be replaced
        self._has_rolled = False  # whether all have been replaced, and only old workers are awaited
        self._candidate: Worker | None = None  # the new worker for the first of these places
        self._leaving: list[tuple[Worker, float]] = []  # with the time at which each is killed
        self._ends: list[signal.Signals] = []  # signals received so far that request the end
        self._asked_at = 0.0

    def run(self, on_ready: Callable[[], None]) -> int:
        """Start the workers, and replace dead or hung workers, until a signal requests the end.

        Returns 0, or 128 plus the number of a second signal. Raises StartError if a worker ends before all are ready.
        """
        looked = time.monotonic()
        try:
            while not self._ends:
                if time.monotonic() - looked > _LATE_SECONDS:
                    for worker in self._workers():
                        worker.excuse()
                looked = time.monotonic()
                for place in self._places:
                    self._look(place)
                self._start_due()
                self._let_listen()
                if not self._is_ready and all(each.worker and each.worker.is_listening for each in self._places):
                    self._is_ready = True
                    on_ready()
                self._roll()
                self._let_leave()
                self._wait()
        finally:
            self._end()
        return 128 + self._ends[1] if len(self._ends) > 1 else 0

    def _look(self, place: _Place) -> None:
        """Replace the worker of a place if it has ended or hangs."""
        worker = place.worker
        if worker is None:
            return
        was_listening = worker.is_listening
        status = worker.look()
        why_hung = worker.why_hung()
        if status is None and why_hung is None:
            if self._is_ready and worker.is_listening and not was_listening:
                _log.info("worker %d is ready again", place.number)
            return
        if status is not None and not self._is_ready:
            raise StartError(f"worker {place.number} ended before it was ready, with {exit_text(status)}")
        worker.kill()
        place.worker, place.said_lost = None, ""
        lived = 0.0 if worker.loaded_at is None else time.monotonic() - worker.loaded_at
        place.wait = restart_delay(place.wait, lived)
        place.start_at = time.monotonic() + place.wait
        count_in_process(WORKER_RESTARTS["hung" if status is None else "died"])
        words = f"{why_hung}; killed it" if status is None else f"died with {exit_text(status)}"
        _log.error("worker %d %s; another starts in %.2f s", place.number, words, place.wait)

    def _start_due(self) -> None:
        """Start due workers, as many at a time as there are cores, but at least two: loading uses a core per worker."""
        loading = [place for place in self._places if place.worker is not None and place.worker.loaded_at is None]
        due = [place for place in self._places if place.worker is None and time.monotonic() >= place.start_at]
        for place in due[: max(2, usable_cores()) - len(loading)]:
            try:
                place.worker = Worker(place.number, self._command, self._totals)
            except OSError as error:
                why = why_no_resource(error)
                if not self._is_ready:
                    raise StartError(f"worker {place.number} cannot be started: {why}") from error
                place.wait = restart_delay(place.wait, 0.0)
                place.start_at = time.monotonic() + place.wait
                _log.error("worker %d cannot be started: %s; retrying in %.2f s", place.number, why, place.wait)

    def _let_listen(self) -> None:
        """Let loaded workers listen: together at the start, later each one once it serves the same as the others."""
        loaded = [
            (place, place.worker)
            for place in self._places
            if place.worker is not None and place.worker.loaded_at is not None and not place.worker.may_listen
        ]
        if not self._is_ready:
            loaded = loaded if len(loaded) == len(self._places) else []
        for place, worker in loaded:
            lost = [] if not self._is_ready else self._lost(worker)
            if not lost:
                worker.let_listen()
                continue
            if place.said_lost != (said := "; ".join(lost)):
                place.said_lost = said
                _log.error(
                    "worker %d cannot serve the same models as the others (%s), so it does not listen yet",
                    place.number,
                    said,
                )
            if worker.loaded_at is not None and time.monotonic() - worker.loaded_at > _HELD_SECONDS:
                worker.kill()
                place.worker = None

    def _lost(self, worker: Worker) -> list[str]:
        """Return the models that another worker serves but this one can't."""
        others = [place.worker for place in self._places if place.worker is not None and place.worker is not worker]
        lost = [lost_models(other.models, worker.models) for other in others if other.is_listening]
        return sorted({each for of_one in lost for each in of_one})

    def _roll(self) -> None:
        """Take the next step of the rolling replacement."""
        if self._leaving:
            return
        if not self._to_roll:
            if self._has_rolled:
                self._has_rolled = False
                count_in_process(RELOADED)
                _log.info("SIGHUP: every worker has been replaced")
            return
        place, worker = self._to_roll[0], self._candidate
        old = place.worker
        if old is None:  # the old worker has ended, so its replacement already loads the current repository
            self._take_place()
        elif worker is None:
            try:
                self._candidate = Worker(place.number, self._command, self._totals)
            except OSError as error:
                self._give_up_roll(f"worker {place.number} cannot be started: {why_no_resource(error)}")
        elif (status := worker.look()) is not None:
            self._give_up_roll(f"worker {place.number} ended before it was ready, with {exit_text(status)}")
        elif (why_hung := worker.why_hung()) is not None:
            self._give_up_roll(f"worker {place.number} {why_hung}")
        elif worker.is_listening:
            old.signal(signal.SIGTERM)
            self._leaving.append((old, time.monotonic() + self._drain + self._grace + _END_SECONDS))
            self._take_place()
        elif worker.loaded_at is not None and not worker.may_listen:
            if lost := lost_models(old.models, worker.models):
                self._give_up_roll(f"worker {place.number} could not serve the current models ({'; '.join(lost)})")
            elif not any(model.is_loading for model in worker.models.values()):
                worker.let_listen()

    def _take_place(self) -> None:
        """Put the new worker, if any, into the first place of the roll, and go on to the next place."""
        self._to_roll.pop(0).worker, self._candidate = self._candidate, None
        self._has_rolled = not self._to_roll

    def _give_up_roll(self, why: str) -> None:
        count_in_process(NOT_RELOADED)
        _log.error("SIGHUP: %s; the current workers keep serving", why)
        self._stop_rolling()

    def _stop_rolling(self) -> None:
        self._to_roll = []
        if self._candidate is not None:
            self._candidate.kill()
        self._candidate = None

    def _let_leave(self) -> None:
        """Release old workers after their end, and kill overdue ones."""
        for worker, deadline in list(self._leaving):
            status = worker.look()
            if status is None and time.monotonic() < deadline:
                continue
            if status is None:
                _log.error("worker %d did not end in time while it was replaced; killed it", worker.number)
            elif status:
                _log.error("worker %d died with %s while it was shutting down", worker.number, exit_text(status))
            worker.kill()
            self._leaving.remove((worker, deadline))

    def _wait(self) -> None:
        """Wait until a worker reports or ends, a signal arrives, or the next check is due."""
        poll = select.poll()
        poll.register(self._signals.fd, select.POLLIN)
        for worker in self._workers():
            if worker.report_fd is not None:
                poll.register(worker.report_fd, select.POLLIN)
        if any(fd == self._signals.fd for fd, _ in poll.poll(1e3 * _LOOK_SECONDS)):
            self._take_signals()

    def _take_signals(self) -> None:
        for number in self._signals.read():
            if number == signal.SIGUSR1:  # this process has already printed its stacks
                for worker in self._workers():
                    worker.signal(number)
            elif number == signal.SIGHUP:
                if not self._ends:
                    _log.info("SIGHUP: replacing the workers one by one, to load the current repository")
                    self._stop_rolling()
                    self._to_roll = list(self._places)
            elif not self._ends:
                _log.info("%s: stopping the workers", number.name)
                self._ends, self._asked_at = [number], time.monotonic()
            elif time.monotonic() - self._asked_at > SAME_SECONDS:
                self._ends.append(number)

    def _workers(self) -> list[Worker]:
        """Return every worker, including new and leaving ones."""
        placed = [place.worker for place in self._places if place.worker is not None]
        coming = [] if self._candidate is None else [self._candidate]
        return [*placed, *coming, *(worker for worker, _ in self._leaving)]

    def _end(self) -> None:
        """End the gateway and then all workers: with a grace period, or at once after a second signal."""
        workers, self._candidate, self._to_roll = self._workers(), None, []
        if self._is_ready and self._drain:
            for worker in workers:
                worker.drain()
            self._wait_until(lambda: False, self._drain)
        self._wait_until(self._end_gateway, self._grace + _END_SECONDS)
        for worker in workers:
            worker.signal(signal.SIGTERM)
        self._wait_until(
            lambda: not [worker for worker in workers if worker.look() is None], self._grace + _END_SECONDS
        )
        for worker in workers:
            if worker.look() is None and len(self._ends) < 2:
                _log.error("worker %d did not end in time; killed it", worker.number)
            worker.kill()

    def _wait_until(self, is_over: Callable[[], bool], seconds: float) -> None:
        """Wait until `is_over()`, for at most `seconds`, or until a second signal arrives."""
        deadline = time.monotonic() + seconds
        while len(self._ends) < 2 and time.monotonic() < deadline and not is_over():
            self._wait()
