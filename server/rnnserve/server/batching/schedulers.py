"""The models' scheduler threads: each next batch consists of the requests that arrived during the previous one.

No request waits for a timer. Each scheduler has one thread and one model, so a slow model doesn't delay others. If a
model supports step-level batching, its scheduler uses it, so a long request delays others by only a few steps. A second
scheduler of the model runs whole requests that are long and cannot be split into steps, or have many rows. Other
requests don't wait for those.
"""

import threading
import time
from collections import Counter
from collections.abc import Collection

from rnnserve.server.batching.execution import BatchModel, PendingRequest, run_pending
from rnnserve.server.batching.step_run import CHUNK_SECONDS, MOST_ROWS, StepRun
from rnnserve.server.batching.waiting_queue import QueueLimits, WaitingQueue
from rnnserve.server.errors import ShuttingDown

__all__ = ["Scheduler", "Schedulers"]

_BATCH_SECONDS = 0.1
"""Target seconds of work per batch. A single request above this runs on another thread than the others: when eight
requests for the largest outputs arrived first, a small request waited for 1.1 s."""


class Scheduler:
    """The queue of one model and its thread. Any thread may submit. The scheduler's thread answers."""

    def __init__(self, model: BatchModel, limits: QueueLimits, *, runs_whole: bool = False) -> None:
        """Start the thread. `runs_whole` is for requests of many rows: step-level batching runs few at a time."""
        self._model = model
        self._queue: WaitingQueue[PendingRequest] = WaitingQueue(limits)
        self._changed = threading.Condition()
        self._is_closed = False
        self._is_running = False
        in_steps = None if runs_whole else model.in_steps
        self._step_run = None if in_steps is None else StepRun(in_steps)
        self._thread = threading.Thread(target=self._loop, name=f"scheduler {model.name}", daemon=True)
        self._thread.start()

    def submit(self, pending: PendingRequest) -> None:
        """Put a request into the queue, or raise QueueFull, WaitTooLong or ShuttingDown."""
        with self._changed:
            if self._is_closed:
                raise ShuttingDown(f"{self._model.name}: the server is shutting down")
            refusal = self._queue.refusal(self._model.name, self._model.cost, pending)
            if refusal is not None:
                try:
                    raise refusal
                finally:
                    del refusal  # breaks a cycle: the error's traceback holds this frame, and thus the request
            self._queue.add(pending)
            if not self._is_running:
                self._changed.notify()

    def close(self, timeout: float | None = None) -> bool:
        """Refuse new requests, answer the pending ones, and end the thread. Return whether it ended in time."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def queued(self) -> int:
        """Number of pending requests."""
        return len(self._queue)

    def _loop(self) -> None:
        steps = self._step_run
        while True:
            with self._changed:
                while not (self._queue or self._is_closed or self._goes_on()):
                    self._changed.wait()
                if not self._queue and not self._goes_on():
                    return
                self._is_running = True
                by_steps = steps is not None and (steps.is_busy or not self._is_short())
                if steps is not None and by_steps:
                    batch = self._queue.take_rows(steps.room)
                else:
                    cost, is_padded = self._model.cost, self._model.signature.is_padded
                    batch = self._queue.take(cost, cost.points_taking(_BATCH_SECONDS), is_padded=is_padded)
            try:
                if steps is not None and by_steps:
                    steps.go_on(batch)
                else:
                    run_pending(self._model, batch)
            finally:
                self._is_running = False
            del batch  # it may hold 16 MB until the next batch arrives

    def _is_short(self) -> bool:
        """Return whether all pending requests fit into one chunk's time. If so, they run as whole requests."""
        cost, queue = self._model.cost, self._queue
        if queue.points > cost.points_taking(CHUNK_SECONDS):
            return False
        longest = max([pending.steps for pending in queue], default=0)
        return cost.of(sum([pending.rows for pending in queue]), longest) < CHUNK_SECONDS

    def _goes_on(self) -> bool:
        """Return whether step-level batching has requests in flight."""
        return self._step_run is not None and self._step_run.is_busy


class Schedulers:
    """The schedulers of all models, each created at the model's first request. Any thread may submit."""

    def __init__(self, limits: QueueLimits) -> None:
        self._limits = limits
        self._by_model: dict[tuple[BatchModel, bool], Scheduler] = {}  # the flag is `runs_whole`
        self._leaving: list[Scheduler] = []  # of models that have been unloaded
        self._lock = threading.Lock()
        self._is_closed = False

    def submit(self, model: BatchModel, pending: PendingRequest) -> None:
        """Put a request into its model's queue, or raise QueueFull, WaitTooLong or ShuttingDown."""
        is_long, in_steps = model.cost.of(pending.rows, pending.steps) > _BATCH_SECONDS, model.in_steps
        runs_whole = is_long and (in_steps is None or pending.rows > MOST_ROWS)
        model = model if in_steps is None or runs_whole else in_steps  # sequence steps share the same batches
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
        """Return the number of pending requests by model."""
        queued: Counter[BatchModel] = Counter()
        for (model, _), scheduler in list(self._by_model.items()):
            queued[model] += scheduler.queued
        return queued

    def keep(self, models: Collection[BatchModel]) -> None:
        """End the threads of all models not in `models`, after their pending requests. Must be called regularly."""
        with self._lock:
            gone = [self._by_model.pop(key) for key in list(self._by_model) if key[0] not in models]
        self._leaving = [scheduler for scheduler in [*self._leaving, *gone] if not scheduler.close(timeout=0.0)]

    def close(self, timeout: float | None = None) -> list[str]:
        """End the threads after their pending requests. Return the models that take longer than `timeout` seconds."""
        with self._lock:
            self._is_closed = True
        deadline = None if timeout is None else time.monotonic() + timeout
        return [
            model.name
            for (model, _), scheduler in self._by_model.items()
            if not scheduler.close(None if deadline is None else max(0.0, deadline - time.monotonic()))
        ]
