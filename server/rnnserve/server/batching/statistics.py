"""What a model has done, counted once a run."""

import dataclasses
import threading
import time

__all__ = ["Statistics"]


@dataclasses.dataclass
class Statistics:
    """Counts since the model was loaded. Any thread may write or read.

    Attributes:
        requests: Answered requests.
        failures: Requests whose run failed.
        dropped: Requests that were cancelled, or past their deadline, before their run.
        rows: Answered rows: a request of batch 3 counts 3.
        runs: Batches run.
        run_seconds: Seconds spent in them.
        wait_seconds: Seconds that requests have waited for their run, together.
        last: When the last run ended, in seconds since the epoch; 0 before the first.
        sizes: By rows of a run, its padding row not counted: how many runs there were, and their seconds.
    """

    requests: int = 0
    failures: int = 0
    dropped: int = 0
    rows: int = 0
    runs: int = 0
    run_seconds: float = 0.0
    wait_seconds: float = 0.0
    last: float = 0.0
    sizes: dict[int, tuple[int, float]] = dataclasses.field(default_factory=dict)
    _lock: threading.Lock = dataclasses.field(default_factory=threading.Lock, repr=False)

    def record(self, *, requests: int, rows: int, run_seconds: float, wait_seconds: float) -> None:
        """Count a run whose requests are answered."""
        with self._lock:
            self.requests += requests
            self.rows += rows
            self.runs += 1
            self.run_seconds += run_seconds
            self.wait_seconds += wait_seconds
            self.last = time.time()
            count, seconds = self.sizes.get(rows, (0, 0.0))
            self.sizes[rows] = (count + 1, seconds + run_seconds)

    def record_failures(self, requests: int) -> None:
        """Count requests whose run failed."""
        with self._lock:
            self.failures += requests

    def record_dropped(self) -> None:
        """Count a request that was not run, since its caller no longer waits."""
        with self._lock:
            self.dropped += 1
