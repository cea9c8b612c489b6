"""Natural batching: the next batch is of what has arrived while the last one ran. No timer, so nobody waits for one.

A scheduler has one thread and one model. Requests come from any thread and are answered on the scheduler's own, through
the callback that they brought; a slow model therefore holds up nobody but itself.
"""

import threading

from rnnserve.server.errors import QueueFull, ShuttingDown
from rnnserve.server.lines import Line
from rnnserve.server.running import Runs, Work, run_all

__all__ = ["Scheduler"]


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
        self._waiting: Line[Work] = Line()
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
            self._waiting.add(work)
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
                batch = self._waiting.take(self._model.cost)
            run_all(self._model, batch)
