"""Natural batching: the next batch is of what has arrived while the last one ran. No request waits for a timer.

A scheduler has one thread and one model. Requests come from any thread and are answered on the scheduler's own; a slow
model therefore delays no other. Where a model's requests can be run by steps, they are: one that takes long delays
others by a few steps.
"""

import threading

from rnnserve.server.batching.execution import BatchModel, run_pending
from rnnserve.server.batching.fair_queue import FairQueue
from rnnserve.server.batching.pending import PendingRequest
from rnnserve.server.batching.step_run import CHUNK_SECONDS, StepRun
from rnnserve.server.batching.waiting_limits import Refusal, WaitingLimits
from rnnserve.server.errors import ShuttingDown

__all__ = ["BATCH_SECONDS", "Scheduler"]

BATCH_SECONDS = 0.1
"""Seconds of work of a batch that waits for a model, unless one request takes more. With more than that waiting,
connections take turns, so that one with many heavy requests delays another by one batch and not by all of them. A
request that takes more by itself is run on another thread than the others: eight for the largest answers, which arrived
first, made a small one wait for 1.1 s. Beyond it: connections take turns; a request that takes more by itself is run
beside the others."""

_WAKE_SECONDS = 50e-6
"""Seconds that it takes to wake a thread, and another one with the answer. A run that takes less is made on the thread
that asks, whatever else runs: with hidden 16 the public transport answers 1.17 times as many requests a second of its
processor time (64 in flight, A B A B)."""


class Scheduler:
    """A queue of one model and the thread that empties it."""

    def __init__(self, model: BatchModel, limits: WaitingLimits, *, runs_whole: bool = False) -> None:
        """Start the thread.

        Args:
            model: The model, which runs the batches.
            limits: Limits of what may wait.
            runs_whole: Whether requests are run whole that might be run by steps: those of many rows, of which a run
                by steps has a few at a time.
        """
        self._model = model
        self._limits = limits
        self._queue: FairQueue[PendingRequest] = FairQueue()
        self._changed = threading.Condition()
        self._is_closed = False
        self._is_running = False
        in_steps = None if runs_whole else model.in_steps
        self._step_run = None if in_steps is None else StepRun(in_steps)
        self._thread = threading.Thread(target=self._loop, name=f"scheduler {model.name}", daemon=True)
        self._thread.start()

    def submit(self, pending: PendingRequest, *, may_run_now: bool = False) -> None:
        """Put a request into the queue; where it is full, perhaps in the place of another one, which is refused.

        Args:
            pending: The request.
            may_run_now: Whether it may be run, and answered, before this returns, where nothing else runs or waits, or
                the run takes less than to wake a thread: for one that would wait for the answer anyway.

        Raises:
            QueueFull: If as many wait as may.
            WaitTooLong: If what waits takes longer than it may, or than until the request's deadline.
            ShuttingDown: If the scheduler has been closed.
        """
        is_short = may_run_now and self._model.cost.of(pending.rows, pending.steps) < _WAKE_SECONDS
        refused = None
        with self._changed:
            if self._is_closed:
                raise ShuttingDown(f"{self._model.name}: the server is shutting down")
            runs_next = may_run_now and not is_short and self._is_idle_for(pending)
            if runs_next:
                self._is_running = True
            elif not is_short:
                refused = self._add(pending)
        if refused is not None:
            refused.request.refuse(refused.error)
        if is_short:
            run_pending(self._model, [pending])
        elif runs_next:
            self._run([pending], is_whole=True)

    def _is_idle_for(self, pending: PendingRequest) -> bool:
        """Whether nothing runs or waits, and a run of this alone takes no longer than others may wait for it."""
        if self._is_running or self._queue:
            return False
        is_short = self._model.cost.of(pending.rows, pending.steps) < CHUNK_SECONDS
        return self._step_run is None or (is_short and not self._step_run.is_busy)

    def _add(self, pending: PendingRequest) -> Refusal | None:
        """Put a request into the queue; give the one that waited and is to be refused for it, if any.

        Raises:
            ServeError: If it is refused itself.
        """
        cost, queue = self._model.cost, self._queue
        refused = self._limits.refusal(self._model.name, cost, queue, pending)
        if refused is not None and refused.request is pending:
            try:
                raise refused.error
            finally:
                del refused  # the error's traceback has this frame: they would keep each other, and the request
        if queue.is_crowded or queue.points > cost.points_taking(BATCH_SECONDS):
            queue.add_from(pending.connection, pending)
        else:
            queue.add(pending)
        if not self._is_running:
            self._changed.notify()
        return refused

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
                while self._is_running or not (self._queue or self._is_closed or self._goes_on()):
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
        """Run a batch, or some steps of it, and let the thread take the next; `_is_running` says so already."""
        try:
            if self._step_run is None or is_whole:
                run_pending(self._model, batch)
            else:
                self._step_run.go_on(batch)
        finally:
            with self._changed:
                self._is_running = False
                if self._queue or self._is_closed:
                    self._changed.notify()
