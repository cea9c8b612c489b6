"""Natural batching: the next batch is of what has arrived while the last one ran. No request waits for a timer.

A scheduler has one thread and one model. Requests come from any thread and are answered on the scheduler's own; a slow
model therefore delays no other.
"""

import threading

from rnnserve.server.batching.execution import BatchModel, run_pending
from rnnserve.server.batching.fair_queue import FairQueue
from rnnserve.server.batching.pending import PendingRequest
from rnnserve.server.batching.waiting_limits import WaitingLimits
from rnnserve.server.errors import ShuttingDown

__all__ = ["Scheduler", "Schedulers"]

_BATCH_SECONDS = 0.1
"""Seconds of work of a batch, unless one request takes more. With more than that waiting, connections take turns, so
that one with many heavy requests delays another by one batch and not by all of them."""


class Scheduler:
    """The queue of one model and the thread that empties it."""

    def __init__(self, model: BatchModel, limits: WaitingLimits) -> None:
        """Start the thread.

        Args:
            model: What runs the batches.
            limits: How much may wait.
        """
        self._model = model
        self._limits = limits
        self._queue: FairQueue[PendingRequest] = FairQueue()
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._loop, name=f"scheduler {model.name}", daemon=True)
        self._thread.start()

    def submit(self, pending: PendingRequest) -> None:
        """Put a request into the queue.

        Raises:
            QueueFull: If as many wait as may.
            WaitTooLong: If what waits takes longer than it may, or than until the request's deadline.
            ShuttingDown: If the scheduler has been closed.
        """
        cost = self._model.cost
        with self._changed:
            if self._is_closed:
                raise ShuttingDown(f"{self._model.name}: the server is shutting down")
            refused = self._limits.reason_to_refuse(self._model.name, cost, self._queue, pending)
            if refused is not None:
                raise refused
            if self._queue.is_crowded or self._queue.points > cost.points_taking(_BATCH_SECONDS):
                self._queue.add_from(pending.connection, pending)
            else:
                self._queue.add(pending)
            self._changed.notify()

    def close(self) -> None:
        """Accept no more requests, answer those that wait, and end the thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def _loop(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._is_closed:
                    self._changed.wait()
                if not self._queue:
                    return
                batch = self._queue.take(self._model.cost, self._model.cost.points_taking(_BATCH_SECONDS))
            run_pending(self._model, batch)


class Schedulers:
    """The schedulers of all models, each made at its model's first request. Any thread may submit."""

    def __init__(self, limits: WaitingLimits) -> None:
        """Start without any.

        Args:
            limits: How much may wait for each model.
        """
        self._limits = limits
        self._by_model: dict[BatchModel, Scheduler] = {}
        self._lock = threading.Lock()
        self._is_closed = False

    def submit(self, model: BatchModel, pending: PendingRequest) -> None:
        """Put a request into its model's queue.

        Args:
            model: The request's; compared by identity.
            pending: The request.

        Raises:
            QueueFull: If as many requests wait for the model as may.
            WaitTooLong: If what waits takes longer than it may, or than until the request's deadline.
            ShuttingDown: If the schedulers have been closed.
        """
        scheduler = self._by_model.get(model)
        if scheduler is None:
            with self._lock:
                if self._is_closed:
                    raise ShuttingDown(f"{model.name}: the server is shutting down")
                scheduler = self._by_model.get(model)
                if scheduler is None:
                    scheduler = self._by_model[model] = Scheduler(model, self._limits)
        scheduler.submit(pending)

    def close(self) -> None:
        """Accept no more requests, answer those that wait, and end the threads."""
        with self._lock:
            self._is_closed = True
        for scheduler in self._by_model.values():
            scheduler.close()
