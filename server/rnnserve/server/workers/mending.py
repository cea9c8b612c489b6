"""How a worker that serves less than the others comes to serve the same again.

One that replaces another cannot load what the others serve where its files have gone or changed: it serves what the
folder gives then (`repository.pinned_loader`). The others go on with what they have in memory. From time to time the
supervisor asks such a worker whether it can load the same by now. It says `mend PROPOSAL`, as `prepare` of
`transport.agreement`; the worker answers `prepared` or `cannot REASON`, and is told to `adopt`.
"""

import json
import logging
import time
from collections.abc import Collection, Sequence

from rnnserve.server.repository.pins import Pins, differing, dump_pins, read_pins, replace_pins
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

    def take(self, worker: Worker, line: str) -> bool:
        """Take a line that a worker has said; False where it is about something else."""
        word, _, _ = line.partition(" ")
        if worker is not self._worker or word not in ("prepared", "cannot", "adopted"):
            return False
        if word == "prepared" and not self._is_adopting:
            self._is_adopting = True
            worker.tell("adopt")
        elif word == "adopted":
            worker.serves(dump_pins(replace_pins(read_pins(worker.pins or "{}"), self._names, self._pins)))
            _log.info("worker %d serves %s like the others again", worker.number, ", ".join(self._names))
            self._worker = None
            self.begin_soon()
        elif word == "cannot":
            self._try_later()
        return True

    def step(self, pins: str, *, may_begin: bool) -> None:
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
                worker.tell("abandon")
                self._try_later()
            return
        if not may_begin or now < self._at:
            return
        self._at = now + self._wait
        self._pins = read_pins(pins)
        for candidate in self._workers:
            if candidate.is_ready and candidate.pins and candidate.pins != pins:
                names = differing(self._pins, read_pins(candidate.pins))
                if names:
                    self._ask(candidate, names)
                    return

    def _ask(self, worker: Worker, names: Collection[str]) -> None:
        self._worker, self._pid, self._names = worker, worker.pid, names
        self._is_adopting, self._deadline = False, time.monotonic() + self._timeout
        proposal = {"names": list(names), "pins": dump_pins(self._pins), "found": []}
        worker.tell(f"mend {json.dumps(proposal)}")

    def _try_later(self) -> None:
        self._worker = None
        self._wait = min(2 * self._wait, _LONGEST_SECONDS)
        self._at = time.monotonic() + self._wait
