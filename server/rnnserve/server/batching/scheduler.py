"""Natural batching: the next batch is of what has arrived while the last one ran. No request waits for a timer.

A scheduler has one thread and one model. Requests come from any thread and are answered on the scheduler's own; a slow
model therefore delays no other. Where a model's requests can be run by steps, they are: one that takes long delays
others by a few steps.
"""

import threading

from rnnserve.server.batching.execution import BatchModel, run_pending
from rnnserve.server.batching.pending import PendingRequest
from rnnserve.server.batching.step_run import CHUNK_SECONDS, StepRun
from rnnserve.server.batching.waiting_queue import QueueLimits, WaitingQueue
from rnnserve.server.errors import ShuttingDown

__all__ = ["BATCH_SECONDS", "Scheduler"]

BATCH_SECONDS = 0.1
"""Seconds of work of a batch, unless one request takes more. A request that takes more by itself is run on another
thread than the others: eight for the largest answers, which arrived first, made a small one wait for 1.1 s."""


class Scheduler:
    """A queue of one model and the thread that empties it."""

    def __init__(self, model: BatchModel, limits: QueueLimits, *, runs_whole: bool = False) -> None:
        """Start the thread.

        Args:
            model: The model, which runs the batches.
            limits: Limits of the queue.
            runs_whole: Whether to run requests whole that could be run by steps: those of many rows, because a run by
                steps has a few rows at a time.
        """
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
        """Put a request into the queue.

        Raises:
            QueueFull: If as many requests wait as may.
            WaitTooLong: If the waiting requests take longer than they may, or than until the request's deadline.
            ShuttingDown: If the scheduler has been closed.
        """
        with self._changed:
            if self._is_closed:
                raise ShuttingDown(f"{self._model.name}: the server is shutting down")
            refusal = self._queue.refusal(self._model.name, self._model.cost, pending)
            if refusal is not None:
                try:
                    raise refusal
                finally:
                    del refusal  # the error's traceback has this frame: they would keep each other, and the request
            self._queue.add(pending)
            if not self._is_running:
                self._changed.notify()

    def close(self, timeout: float | None = None) -> bool:
        """Accept no more requests, answer those that wait, and end the thread.

        Args:
            timeout: Seconds that this may take.

        Returns:
            Whether the thread has ended.
        """
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def queued(self) -> int:
        """How many requests wait."""
        return len(self._queue)

    @property
    def name(self) -> str:
        """The name of its model."""
        return self._model.name

    def _loop(self) -> None:
        steps = self._step_run
        while True:
            with self._changed:
                while not (self._queue or self._is_closed or self._goes_on()):
                    self._changed.wait()
                if not self._queue and not self._goes_on():
                    return
                self._is_running = True
                if steps is not None and (steps.is_busy or not self._is_short()):
                    batch, is_whole = self._queue.take_rows(steps.room), False
                else:
                    cost, is_padded = self._model.cost, self._model.signature.is_padded
                    batch = self._queue.take(cost, cost.points_taking(BATCH_SECONDS), is_padded=is_padded)
                    is_whole = True
            self._run(batch, is_whole=is_whole)
            del batch  # it may hold 16 MB until the next one comes

    def _is_short(self) -> bool:
        """Whether a run of all that waits takes no longer than a chunk of steps: then it is made whole."""
        cost, queue = self._model.cost, self._queue
        if queue.points > cost.points_taking(CHUNK_SECONDS):
            return False
        longest = max([pending.steps for pending in queue], default=0)
        return cost.of(sum([pending.rows for pending in queue]), longest) < CHUNK_SECONDS

    def _goes_on(self) -> bool:
        """Whether requests are in hand of which steps are to be run."""
        return self._step_run is not None and self._step_run.is_busy

    def _run(self, batch: list[PendingRequest], *, is_whole: bool) -> None:
        """Run a batch or some steps of it; `_is_running` says so already."""
        try:
            if self._step_run is None or is_whole:
                run_pending(self._model, batch)
            else:
                self._step_run.go_on(batch)
        finally:
            self._is_running = False
