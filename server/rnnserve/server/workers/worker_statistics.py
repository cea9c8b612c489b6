"""How the counts of all workers are summed: a client's connection is with one of them, and asks for those of all.

The supervisor (`CountCollector`) and the workers (`WorkerCounts`) say these lines to one another, beside those of
`transport.agreement`; COUNTS is a ModelStatisticsResponse in base64:

======================  ==============================================================================
worker says             meaning
======================  ==============================================================================
`sum NUMBER`            it wants what the others have counted
`counted NUMBER COUNTS` what it has counted itself
======================  ==============================================================================

======================  ==============================================================================
supervisor says         meaning
======================  ==============================================================================
`count NUMBER`          say what you have counted
`counts N COUNTS …`     what the others have counted, those that have answered in time; N is the worker's own number
======================  ==============================================================================
"""

import base64
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Sequence

from rnnserve.server.workers.worker_process import Worker

__all__ = ["CountCollector", "WorkerCounts", "answer_leaving"]

_log = logging.getLogger(__name__)

_COLLECT_SECONDS = 0.25
"""Seconds that the others may take to answer. One that takes longer is hung, and is killed soon."""

_ASK_SECONDS = 1.0
"""Seconds after which a worker answers with what it has counted itself: the supervisor has ended, or is stopped."""


class WorkerCounts:
    """A worker's side. Any thread may ask; calls that come while others wait share the next answer."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """Start without a question.

        Args:
            say: A function that writes a line to the supervisor.
        """
        self._say = say
        self._changed = threading.Condition()
        self._asked = self._answered = 0  # numbers of questions: one is on its way where they differ
        self._counts: list[bytes] = []

    def of_others(self) -> list[bytes]:
        """What the other workers have counted, each a ModelStatisticsResponse, after this call began."""
        deadline = time.monotonic() + _ASK_SECONDS
        with self._changed:
            mine = self._asked + 1  # one that is on its way may have been answered by others already
            while self._answered < mine:
                if self._asked < mine and self._asked == self._answered:
                    self._asked = mine
                    self._say(f"sum {mine}")
                if not self._changed.wait(deadline - time.monotonic()):
                    _log.warning("the supervisor does not say what the other workers have counted")
                    self._answered = max(self._answered, self._asked)
                    return []
            return self._counts

    def take(self, rest: str) -> None:
        """Take what the supervisor says after the word `counts`."""
        number, *counts = rest.split(" ")
        with self._changed:
            if int(number) == self._asked:
                self._counts = [base64.b64decode(one) for one in counts]
                self._answered = self._asked
                self._changed.notify_all()

    def say_own(self, number: str, counts: bytes) -> None:
        """Answer the supervisor, who has said `count NUMBER`, with a ModelStatisticsResponse."""
        self._say(f"counted {number} {base64.b64encode(counts).decode()}")


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
    number: str
    awaited: set[Worker]
    deadline: float
    counts: list[str] = dataclasses.field(default_factory=list)


class CountCollector:
    """The supervisor's side, for the workers of a generation. For one thread."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        """Start without a question.

        Args:
            workers: Workers of the generation.
        """
        self._workers = workers
        self._collections: dict[str, _Collection] = {}  # by our own numbers
        self._count = 0

    def take(self, worker: Worker, line: str) -> bool:
        """Take a line that a worker has said; False where it is about something else."""
        word, _, rest = line.partition(" ")
        if word == "sum":
            self._ask(worker, rest)
        elif word == "counted":
            number, _, counts = rest.partition(" ")
            collection = self._collections.get(number)
            if collection is not None and worker in collection.awaited:
                collection.awaited.discard(worker)
                collection.counts.append(counts)
        else:
            return False
        self.answer()
        return True

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
                collection.asker.tell(" ".join(["counts", collection.number, *collection.counts]))

    def _ask(self, asker: Worker, number: str) -> None:
        self._count += 1
        others = {worker for worker in self._workers if worker.is_ready and worker is not asker}
        deadline = time.monotonic() + _COLLECT_SECONDS
        self._collections[str(self._count)] = _Collection(asker, asker.pid, number, others, deadline)
        for worker in others:
            worker.tell(f"count {self._count}")


def answer_leaving(worker: Worker, line: str) -> None:
    """Answer a worker that is being replaced, and asks for the counts of others: it has no others any more."""
    word, _, number = line.partition(" ")
    if word == "sum":
        worker.tell(f"counts {number}")
