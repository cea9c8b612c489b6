"""How a worker that serves less than the others comes to serve the same again.

One that replaces another cannot load what the others serve where its files have gone or changed: it serves what the
folder gives then (`repository.pinned_loader`). The others go on with what they have in memory. From time to time the
supervisor asks such a worker whether it can load the same by now: it says `Mend`; the worker answers `Prepared` or
`Cannot`, and is told to `Adopt`.
"""

import logging
import time
from collections.abc import Collection, Sequence

from rnnserve.server.repository.pins import Pins, differing, replace_pins
from rnnserve.server.workers.messages import Abandon, Adopt, Adopted, Cannot, Mend, Prepared, Proposal
from rnnserve.server.workers.worker_process import Worker

__all__ = ["Mending"]

_log = logging.getLogger(__name__)

_FIRST_SECONDS, _LONGEST_SECONDS = 2.0, 60.0
"""Seconds between two tries, doubled after each that fails."""


class Mending:
    """Asks workers that differ, one at a time, to load what the others serve. For one thread, the supervisor's."""

    def __init__(self, workers: Sequence[Worker], timeout: float) -> None:
        """Begin with nothing to mend.

        Args:
            workers: Workers of the generation.
            timeout: Seconds that a worker may take to load.
        """
        self._workers = workers
        self._timeout = timeout
        self._wait = _FIRST_SECONDS
        self._at = 0.0
        self._worker: Worker | None = None
        self._pid = 0
        self._names: Collection[str] = ()
        self._pins: Pins = {}
        self._is_adopting = False
        self._deadline = 0.0

    @property
    def is_under_way(self) -> bool:
        """Whether a worker loads: no other change may begin."""
        return self._worker is not None

    def begin_soon(self) -> None:
        """Try again soon: a worker has come that differs, or what all are to serve has changed."""
        self._wait = _FIRST_SECONDS
        self._at = time.monotonic() + self._wait

    def is_of(self, worker: Worker) -> bool:
        """Whether what a worker says of a change is about this."""
        return worker is self._worker

    def take(self, worker: Worker, message: Prepared | Adopted | Cannot) -> None:
        """Take what the worker that loads has said."""
        match message:
            case Prepared() if not self._is_adopting:
                self._is_adopting = True
                worker.tell(Adopt())
            case Adopted():
                worker.serves(replace_pins(worker.pins or {}, self._names, self._pins))
                _log.info("worker %d serves %s like the others again", worker.number, ", ".join(self._names))
                self._worker = None
                self.begin_soon()
            case Cannot():
                self._try_later()

    def step(self, pins: Pins, *, may_begin: bool) -> None:
        """Take the next step.

        Args:
            pins: The versions that all are to serve.
            may_begin: Whether no other change is under way.
        """
        now = time.monotonic()
        worker = self._worker
        if worker is not None:
            if worker.pid != self._pid:
                self._worker = None
            elif now > self._deadline:
                worker.tell(Abandon())
                self._try_later()
            return
        if not may_begin or now < self._at:
            return
        self._at = now + self._wait
        self._pins = pins
        for candidate in self._workers:
            if candidate.is_ready and candidate.pins and candidate.pins != pins:
                names = differing(pins, candidate.pins)
                if names:
                    self._ask(candidate, names)
                    return

    def _ask(self, worker: Worker, names: Collection[str]) -> None:
        self._worker, self._pid, self._names = worker, worker.pid, names
        self._is_adopting, self._deadline = False, time.monotonic() + self._timeout
        worker.tell(Mend(Proposal(tuple(names), self._pins)))

    def _try_later(self) -> None:
        self._worker = None
        self._wait = min(2 * self._wait, _LONGEST_SECONDS)
        self._at = time.monotonic() + self._wait
