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
        run_seconds: Seconds of runs, each counted once for each of its requests: how long these were run, together.
        wait_seconds: Seconds that requests have waited for their run, together.
        failed_seconds: Seconds from the arrival of failed and dropped requests to their refusal, together.
        last: When the last run ended, in seconds since the epoch; 0 before the first.
        sizes: By rows of a run, its padding row not counted: how many runs there were, and their seconds.
    """

    requests: int = 0
    failures: int = 0
    dropped: int = 0
    run_seconds: float = 0.0
    wait_seconds: float = 0.0
    failed_seconds: float = 0.0
    last: float = 0.0
    sizes: dict[int, tuple[int, float]] = dataclasses.field(default_factory=dict)
    _lock: threading.Lock = dataclasses.field(default_factory=threading.Lock, repr=False)

    @property
    def runs(self) -> int:
        """Batches run."""
        return sum(count for count, _ in self.sizes.copy().values())

    @property
    def rows(self) -> int:
        """Answered rows: a request of batch 3 counts 3."""
        return sum(rows * count for rows, (count, _) in self.sizes.copy().items())

    def record(self, *, requests: int, rows: int, run_seconds: float, wait_seconds: float) -> None:
        """Count a run whose requests are answered.

        Args:
            requests: Number of the requests.
            rows: Number of their rows, together.
            run_seconds: Seconds of the run.
            wait_seconds: Seconds that they have waited for it, together.
        """
        with self._lock:
            self.requests += requests
            self.run_seconds += requests * run_seconds
            self.wait_seconds += wait_seconds
            self.last = time.time()
            count, seconds = self.sizes.get(rows, (0, 0.0))
            self.sizes[rows] = (count + 1, seconds + run_seconds)

    def record_failure(self, seconds: float) -> None:
        """Count a request whose run failed, `seconds` after its arrival."""
        with self._lock:
            self.failures += 1
            self.failed_seconds += seconds

    def record_dropped(self, seconds: float) -> None:
        """Count a request that was not run, since its caller no longer waits, `seconds` after its arrival."""
        with self._lock:
            self.dropped += 1
            self.failed_seconds += seconds
