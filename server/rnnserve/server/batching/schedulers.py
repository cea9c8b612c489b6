"""The schedulers of all models: up to two for each.

A second one runs those whole that take long and cannot be run by steps, or have many rows: others wait for no run of
these.
"""

import threading
import time
from collections import Counter
from collections.abc import Collection

from rnnserve.server.batching.execution import BatchModel
from rnnserve.server.batching.pending import PendingRequest
from rnnserve.server.batching.scheduler import BATCH_SECONDS, Scheduler
from rnnserve.server.batching.step_run import MOST_ROWS
from rnnserve.server.batching.waiting_queue import QueueLimits
from rnnserve.server.errors import ServeError, ShuttingDown

__all__ = ["Schedulers"]


class Schedulers:
    """The schedulers of all models, each made at the first request for it. Any thread may submit.

    A model has up to two: of requests that take long and are run whole, and of the others.
    """

    def __init__(self, limits: QueueLimits) -> None:
        """Start without any.

        Args:
            limits: Limits of what may wait for each of them.
        """
        self._limits = limits
        self._by_model: dict[tuple[BatchModel, bool], Scheduler] = {}  # and by whether it runs long requests whole
        self._leaving: list[Scheduler] = []  # of models that serve no more
        self._lock = threading.Lock()
        self._is_closed = False

    def submit(self, model: BatchModel, pending: PendingRequest) -> None:
        """Put a request into its model's queue.

        Args:
            model: The model that is asked; compared by identity.
            pending: The request.

        Raises:
            QueueFull: If as many requests wait for the model as may.
            WaitTooLong: If what waits takes longer than it may, or than until the request's deadline.
            ShuttingDown: If the schedulers have been closed.
        """
        is_long, in_steps = model.cost.of(pending.rows, pending.steps) > BATCH_SECONDS, model.in_steps
        runs_whole = is_long and (in_steps is None or pending.rows > MOST_ROWS)
        model = model if in_steps is None or runs_whole else in_steps  # with steps of its sequences in the same runs
        key = model, runs_whole
        while True:
            scheduler = self._by_model.get(key)
            if scheduler is None:
                with self._lock:
                    if self._is_closed:
                        raise ShuttingDown(f"{model.name}: the server is shutting down")
                    scheduler = self._by_model.get(key)
                    if scheduler is None:
                        scheduler = self._by_model[key] = Scheduler(model, self._limits, runs_whole=runs_whole)
            try:
                scheduler.submit(pending)
            except ShuttingDown:
                if self._by_model.get(key) is scheduler:
                    raise
            else:
                return

    def queued(self) -> Counter[BatchModel]:
        """How many requests wait, by model."""
        queued: Counter[BatchModel] = Counter()
        for (model, _), scheduler in list(self._by_model.items()):
            queued[model] += scheduler.queued
        return queued

    def submit_or_refuse(self, model: BatchModel, pending: PendingRequest) -> None:
        """Put a request into its model's queue, or answer it with what `submit` raises."""
        try:
            self.submit(model, pending)
        except ServeError as error:
            pending.refuse(error)

    def keep(self, models: Collection[BatchModel]) -> None:
        """End the threads of all other models, each when it has run what waits for it.

        A request that began with such a model, and is submitted after that, has a thread made for it anew: so this is
        to be called now and then.
        """
        with self._lock:
            gone = [self._by_model.pop(key) for key in list(self._by_model) if key[0] not in models]
        self._leaving = [scheduler for scheduler in [*self._leaving, *gone] if not scheduler.close(timeout=0.0)]

    def close(self, timeout: float | None = None) -> list[str]:
        """Accept no more requests, answer those that wait, and end the threads.

        Args:
            timeout: Seconds that this may take.

        Returns:
            The names of the models whose threads have not ended.
        """
        with self._lock:
            self._is_closed = True
        deadline = None if timeout is None else time.monotonic() + timeout
        return [
            scheduler.name
            for scheduler in self._by_model.values()
            if not scheduler.close(None if deadline is None else max(0.0, deadline - time.monotonic()))
        ]
