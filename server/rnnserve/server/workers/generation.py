"""Workers that serve the same versions: started together, kept alive, and replaced by others of the same kind.

All of a generation load before any of them listens: so none listens where one cannot be started. Those that loaded
something else than the first one load again: the repository may have changed meanwhile.

One that replaces another later is to serve what the others do. Where it cannot, it serves what the repository holds
then, and the log says so; it is mended when the files are back (`mending`). Where no other serves any more
what all were to serve of a model, they follow it.
"""

import logging
import signal
from collections.abc import Callable, Sequence

from rnnserve.common.cgroup import usable_cores
from rnnserve.server.counting.totals import Totals
from rnnserve.server.errors import StartError
from rnnserve.server.process.resources import why_no_resource
from rnnserve.server.repository.pins import Pins, differing, replace_pins, serving
from rnnserve.server.workers.joint_loading import Change, Coordinator
from rnnserve.server.workers.worker_process import Worker

__all__ = ["Generation", "exit_text"]

_log = logging.getLogger(__name__)

_SILENT_SECONDS = 10.0
"""Seconds of silence of a worker. Beats come every second; what may delay one is the lane's longest step (a request of
16 MB, 1 to 2 s) and a machine with more to do than it can. Beyond it: the worker is replaced."""

_STOPPED_SECONDS = 2.0
"""Seconds of silence of a worker whose process is stopped (SIGSTOP): the kernel says that it is, so there is nothing to
be in doubt about. Beyond it: the worker is replaced."""


def _starts_at_once() -> int:
    """Workers that may load at the same time: loading takes a core, and the most memory that a worker ever takes."""
    return max(2, usable_cores())


class Generation:
    """Workers of one generation."""

    def __init__(
        self,
        command: Callable[[Sequence[str]], Sequence[str]],
        count: int,
        *,
        poll: float | None = None,
        timeout: float = 60.0,
        totals: Totals | None = None,
    ) -> None:
        """Prepare; each `look` starts those that are due.

        Args:
            command: A function that makes a worker's command line from the arguments for it alone, `--report-fd` and
                others.
            count: Number of workers.
            poll: Seconds between two looks at the repository; None where workers change only what they are asked to.
            timeout: Seconds that the others may take to load what one has loaded.
            totals: Sum of what they count; None where no one asks.
        """
        self._totals = totals or Totals()
        self.workers = [Worker(number, command, self._totals) for number in range(count)]
        self._killed_because: dict[Worker, str] = {}
        self._coordinator = Coordinator(self.workers, poll, timeout, self._counts_of_ended)
        self.is_ready = False
        self._pins: Pins | None = None

    def look(self) -> None:
        """Start workers that are due, let those listen that may, and replace those that have died or hang.

        Raises:
            StartError: If one dies before all of them were ready for the first time: it would die again and again.
        """
        for worker in self.workers:
            was_ready = worker.is_ready
            status = worker.look()
            if status is not None:
                self._replace(worker, status)
            elif worker.is_ready and not was_ready and self.is_ready:
                _log.info("worker %d is ready again", worker.number)
            self._end_if_hung(worker)
        self._start_due()
        self._let_listen()
        self.is_ready = self.is_ready or all(worker.is_ready for worker in self.workers)
        if self.is_ready:
            change = self._coordinator.step()
            if change is not None:
                self._take_change(change)
            if self._pins is not None:
                self._coordinator.mend(self._pins)

    def _counts_of_ended(self) -> bytes:
        """What workers have counted that have ended, for those that are asked for their statistics."""
        ended = self._totals.ended()
        if not ended:
            return b""
        # Imported once one has ended: a supervisor whose workers all live does without protobuf.
        from rnnserve.server.protocol.statistics_messages import statistics_of_ended

        return statistics_of_ended(ended).SerializeToString()

    def excuse(self) -> None:
        """Begin to count the silence of all workers anew."""
        for worker in self.workers:
            worker.excuse()

    def _replace(self, worker: Worker, status: int) -> None:
        if not self.is_ready:
            raise StartError(f"worker {worker.number} ended before it was ready, with {exit_text(status)}")
        wait = worker.clean_up()
        self._totals.restarts[self._killed_because.pop(worker, "died")] += 1
        _log.error("worker %d died with %s; another starts in %.2f s", worker.number, exit_text(status), wait)

    def _end_if_hung(self, worker: Worker) -> None:
        silence = worker.silence()
        if silence > _STOPPED_SECONDS and worker.is_stopped():
            self._killed_because[worker] = "stopped"
            _log.error("worker %d is stopped, for %.1f s at least: it is killed", worker.number, silence)
        elif silence > _SILENT_SECONDS:
            self._killed_because[worker] = "hung"
            _log.error("worker %d has made no progress for %.1f s: it is killed", worker.number, silence)
        else:
            return
        worker.excuse()  # it is killed once, and dies when the kernel comes to it
        worker.signal(signal.SIGKILL)

    def _start_due(self) -> None:
        room = _starts_at_once() - sum(worker.is_loading for worker in self.workers)
        for worker in self.workers:
            if room > 0 and worker.is_due:
                self._start(worker)
                room -= 1

    def _start(self, worker: Worker) -> None:
        try:
            worker.start(self._pins)
        except OSError as error:
            why = why_no_resource(error)
            if not self.is_ready:
                raise StartError(f"worker {worker.number} cannot be started: {why}") from error
            _log.error("worker %d cannot be started: %s; tried again in %.2f s", worker.number, why, worker.postpone())

    def _let_listen(self) -> None:
        loaded = [worker for worker in self.workers if worker.is_loaded]
        if self._pins is None and loaded and loaded[0].pins is not None:
            self._pins = loaded[0].pins
        for worker in loaded:
            if worker.pins != self._pins and not worker.is_pinned:
                _log.warning(
                    "worker %d has loaded other versions than the first one: it loads again",
                    worker.number,
                )
                worker.kill()
        loaded = [worker for worker in loaded if worker.is_loaded]
        if self.is_ready or len(loaded) == len(self.workers):
            for worker in loaded:
                self._let(worker)

    def _take_change(self, change: Change) -> None:
        """Note what all workers serve from now on: of the models that have changed, what was proposed."""
        wanted = self._pins = replace_pins(self._pins or {}, change.names, change.pins)
        for worker in change.workers:
            pins = replace_pins(worker.pins or {}, change.names, change.pins)
            worker.serves(pins, all_of_it=not differing(wanted, pins))

    def _let(self, worker: Worker) -> None:
        if worker.pins is not None and self._pins is not None and worker.pins != self._pins:
            self._note_difference(worker, self._pins, worker.pins)
        worker.go()

    def _note_difference(self, worker: Worker, wanted: Pins, found: Pins) -> None:
        """Say, in one line, what a worker does not serve as the others do; what no other does, none is to serve."""
        names = differing(wanted, found)
        others = [other.pins for other in self.workers if other is not worker and other.is_ready and other.pins]
        lost = [
            name
            for name in names
            if serving(found, name) and not any(serving(other, name) == serving(wanted, name) for other in others)
        ]
        if lost:
            self._pins = replace_pins(wanted, lost, found)
        kept = [name for name in names if name not in lost]
        if kept:
            worker.serves(found, all_of_it=False)
        if names:
            self._coordinator.mend_soon()
            _log.error(
                "worker %d: files of the repository have changed or gone, so that it serves other versions than were "
                "served: %s. %s",
                worker.number,
                "; ".join(f"{name}: {_in_words(found, name)}, not {_in_words(wanted, name)}" for name in names),
                "The others follow" if not kept else "It tries again; SIGHUP restarts all with what the folder holds",
            )


def _in_words(pins: Pins, name: str) -> str:
    numbers = ", ".join(str(number) for number in sorted(serving(pins, name)))
    return f"version {numbers}" if numbers else "no version"


def exit_text(status: int) -> str:
    """An exit status as text."""
    return f"exit status {status}" if status >= 0 else f"signal {signal.Signals(-status).name}"
