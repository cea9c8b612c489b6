"""Natural batching: whatever has arrived while the last batch ran is the next one. No timer, so nobody waits for one.

A scheduler has one thread and one model. Requests come from any thread and are answered on the scheduler's own, through
the callback that they brought; a slow model therefore holds up nobody but itself.
"""

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from rnnserve.server.batching import Cost, plan
from rnnserve.server.boundary import Array, Inference
from rnnserve.server.errors import Cancelled, DeadlinePassed, InternalError, QueueFull, ServeError, ShuttingDown

__all__ = ["Answer", "Scheduler", "Work"]

Answer = dict[str, Array] | ServeError


class Runs(Protocol):
    """What a scheduler needs of a model."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def cost(self) -> Cost:
        """For grouping."""

    def run(self, requests: Sequence[Inference]) -> list[dict[str, Array]]:
        """Run requests as one batch, and give each its own outputs."""


@dataclasses.dataclass(slots=True, eq=False)
class Work:
    """A request on its way through the scheduler.

    Attributes:
        inference: What to run.
        answer: Called exactly once, on the scheduler's thread, with the outputs or the error.
        deadline: On `time.monotonic`'s clock, in seconds; None where the caller waits for ever.
        cancelled: Whether the caller is known to have gone.
    """

    inference: Inference
    answer: Callable[[Answer], None]
    deadline: float | None = None
    cancelled: bool = False

    def cancel(self) -> None:
        """Say that the caller has gone."""
        self.cancelled = True


class Scheduler:
    """The queue of one model and the thread that empties it."""

    def __init__(self, model: Runs, capacity: int) -> None:
        """Start the thread.

        Args:
            model: What runs the batches.
            capacity: How many requests may wait at once.
        """
        self._model = model
        self._capacity = capacity
        self._waiting: deque[Work] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._loop, name=f"scheduler {model.name}", daemon=True)
        self._thread.start()

    def submit(self, work: Work) -> None:
        """Put a request into the queue.

        Raises:
            QueueFull: If as many wait as may.
            ShuttingDown: If the scheduler has been closed.
        """
        with self._changed:
            if self._closed:
                raise ShuttingDown(f"{self._model.name}: the server is shutting down")
            if len(self._waiting) >= self._capacity:
                raise QueueFull(f"{self._model.name}: {self._capacity} requests wait already (--max-queue); slow down")
            self._waiting.append(work)
            self._changed.notify()

    def close(self) -> None:
        """Take no more requests, answer those that wait, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _loop(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if not self._waiting:
                    return
                arrived = list(self._waiting)
                self._waiting.clear()
            self._serve(arrived)

    def _serve(self, arrived: list[Work]) -> None:
        groups = plan([work.inference for work in arrived], self._model.cost)
        for group in groups:
            batch = [work for work in (arrived[index] for index in group) if not _dropped(work)]
            if batch:
                self._run(batch)

    def _run(self, batch: list[Work]) -> None:
        answers: Sequence[Answer]
        try:
            answers = self._model.run([work.inference for work in batch])
        except Exception as error:  # noqa: BLE001 - whatever it is, its callers must hear, and the next batch must run
            answers = [InternalError.hiding(error)] * len(batch)
        for work, answer in zip(batch, answers, strict=True):
            work.answer(answer)


def _dropped(work: Work) -> bool:
    """Answer a request that nobody waits for any more, just before it would cost a run."""
    if work.cancelled:
        work.answer(Cancelled("the request was cancelled before it was run"))
        return True
    if work.deadline is not None and time.monotonic() > work.deadline:
        work.answer(DeadlinePassed("the deadline passed before the request was run"))
        return True
    return False
