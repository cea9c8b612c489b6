"""How the counts of all workers are summed: a client's connection is with one of them, and asks for those of all.

A worker says `Sum`; the supervisor says `Count` to the others, which answer `Counted`; then it tells the worker the
`Counts`.
"""

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Sequence

from rnnserve.server.workers.messages import Count, Counts, Sum, WorkerMessage
from rnnserve.server.workers.worker_process import Worker

__all__ = ["CountCollector", "WorkerCounts"]

_log = logging.getLogger(__name__)

_COLLECT_SECONDS = 0.25
"""Seconds that the others may take to answer. One that takes longer is hung, and is killed soon."""

_ASK_SECONDS = 1.0
"""Seconds after which a worker answers with what it has counted itself: the supervisor has ended, or is stopped."""


class WorkerCounts:
    """A worker's side. Any thread may ask; calls that come while others wait share the next answer."""

    def __init__(self, say: Callable[[WorkerMessage], None]) -> None:
        """Start without a question.

        Args:
            say: A function that writes a message to the supervisor.
        """
        self._say = say
        self._changed = threading.Condition()
        self._asked = self._answered = 0  # numbers of questions: one is on its way where they differ
        self._counts: Sequence[bytes] = ()

    def of_others(self) -> Sequence[bytes]:
        """What the other workers have counted, each a ModelStatisticsResponse, after this call began."""
        deadline = time.monotonic() + _ASK_SECONDS
        with self._changed:
            mine = self._asked + 1  # one that is on its way may have been answered by others already
            while self._answered < mine:
                if self._asked < mine and self._asked == self._answered:
                    self._asked = mine
                    self._say(Sum(mine))
                if not self._changed.wait(deadline - time.monotonic()):
                    _log.warning("the supervisor does not say what the other workers have counted")
                    self._answered = max(self._answered, self._asked)
                    return ()
            return self._counts

    def take(self, told: Counts) -> None:
        """Take the answer of the supervisor."""
        with self._changed:
            if told.number == self._asked:
                self._counts = told.counts
                self._answered = told.number
                self._changed.notify_all()


@dataclasses.dataclass
class _Collection:
    """A worker's question.

    Attributes:
        asker: The worker.
        pid: Its process.
        number: The asker's number of it.
        awaited: The workers that have not answered.
        counts: What the others have said.
        deadline: When it is answered at the latest, in seconds on the monotonic clock.
    """

    asker: Worker
    pid: int
    number: int
    awaited: set[Worker]
    deadline: float
    counts: list[bytes] = dataclasses.field(default_factory=list)


class CountCollector:
    """The supervisor's side, for the workers of a generation. For one thread."""

    def __init__(self, workers: Sequence[Worker], of_ended: Callable[[], bytes] = bytes) -> None:
        """Start without a question.

        Args:
            workers: Workers of the generation.
            of_ended: A function that gives what workers have counted that have ended, a ModelStatisticsResponse.
        """
        self._of_ended = of_ended
        self._workers = workers
        self._collections: dict[int, _Collection] = {}  # by our own numbers
        self._count = 0

    def ask(self, asker: Worker, number: int) -> None:
        """Ask the other workers what they have counted.

        Args:
            asker: The worker that wants it.
            number: Number that it has given the question.
        """
        self._count += 1
        others = {worker for worker in self._workers if worker.is_ready and worker is not asker}
        deadline = time.monotonic() + _COLLECT_SECONDS
        self._collections[self._count] = _Collection(asker, asker.pid, number, others, deadline)
        for worker in others:
            worker.tell(Count(self._count))
        self.answer()

    def add(self, worker: Worker, number: int, counts: bytes) -> None:
        """Take what a worker has counted, where that is still awaited."""
        collection = self._collections.get(number)
        if collection is not None and worker in collection.awaited:
            collection.awaited.discard(worker)
            collection.counts.append(counts)
        self.answer()

    def answer(self) -> None:
        """Answer the questions to which all have said their counts, or have had their time."""
        for number, collection in list(self._collections.items()):
            awaited = [worker for worker in collection.awaited if worker.is_ready]
            if awaited and time.monotonic() < collection.deadline:
                continue
            del self._collections[number]
            if awaited:
                numbers = sorted(worker.number for worker in awaited)
                _log.warning("workers do not say what they have counted: %s", numbers)
            if collection.asker.pid == collection.pid:
                ended = [counts] if (counts := self._of_ended()) else []
                collection.asker.tell(Counts(collection.number, (*collection.counts, *ended)))
