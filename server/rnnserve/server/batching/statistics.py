"""What a model has done, counted once a run, and why requests were refused."""

import dataclasses
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence

from rnnserve.server.counting import places
from rnnserve.server.counting.places import (
    ANSWER_BUCKETS,
    ANSWERED,
    PADDED_STEPS,
    REQUEST_RUN_SECONDS,
    ROW_BUCKET,
    ROWS,
    RUN_BUCKETS,
    RUN_SECONDS,
    RUNS,
    SECONDS_BOUNDS,
    STEPS,
    WAIT_BUCKETS,
    WAIT_SECONDS,
)
from rnnserve.server.counting.table import Counts, private_counts

__all__ = ["Statistics"]

_MANY_ROWS, _MANY_ROWS_BUCKET = len(ROW_BUCKET), places.REFUSED - 1


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
        counts: The numbers for `/metrics` (`counting.places`), which other processes may read: of all models of this
            name and version that this process has loaded.
        refused_before: How many refusals there were among these when the model was loaded.
        unsent_before: The same of those after a run.
    """

    requests: int = 0
    failures: int = 0
    dropped: int = 0
    run_seconds: float = 0.0
    wait_seconds: float = 0.0
    failed_seconds: float = 0.0
    last: float = 0.0
    sizes: dict[int, tuple[int, float]] = dataclasses.field(default_factory=dict)
    counts: Counts = dataclasses.field(default_factory=private_counts, repr=False, compare=False)
    refused_before: float = 0.0
    unsent_before: float = 0.0
    _lock: threading.Lock = dataclasses.field(default_factory=threading.Lock, repr=False)

    def count_in(self, counts: Counts) -> None:
        """Add to these numbers from now on."""
        self.counts = counts
        self.refused_before = sum(counts[places.REFUSED : places.PLACES])
        self.unsent_before = counts[places.REFUSED_AFTER_RUN]

    @property
    def unsent(self) -> int:
        """Requests among the answered ones that were refused after their run, since the answer could not be held."""
        return round(self.counts[places.REFUSED_AFTER_RUN] - self.unsent_before)

    @property
    def refused(self) -> int:
        """Requests that were refused, for whatever reason."""
        return round(sum(self.counts[places.REFUSED : places.PLACES]) - self.refused_before)

    @property
    def runs(self) -> int:
        """Batches run."""
        return sum(count for count, _ in self.sizes.copy().values())

    @property
    def rows(self) -> int:
        """Answered rows: a request of batch 3 counts 3."""
        return sum(rows * count for rows, (count, _) in self.sizes.copy().items())

    def record(
        self,
        *,
        requests: int,
        rows: int,
        run_seconds: float,
        wait_seconds: float,
        arrivals: Sequence[float] = (),
        ended: float = 0.0,
        steps: int = 0,
        padded_steps: int = 0,
    ) -> None:
        """Count a run whose requests are answered.

        Args:
            requests: Number of the requests.
            rows: Number of their rows, together.
            run_seconds: Seconds of the run.
            wait_seconds: Seconds that they have waited for it, together.
            arrivals: Times of their arrivals, in seconds on the clock of `clock`.
            ended: End of the run, on the same clock.
            steps: Steps of all of their rows, together.
            padded_steps: Steps that the run has made beside these.
        """
        counts = self.counts
        with self._lock:
            self.requests += requests
            self.run_seconds += requests * run_seconds
            self.wait_seconds += wait_seconds
            self.last = time.time()
            count, seconds = self.sizes.get(rows, (0, 0.0))
            self.sizes[rows] = (count + 1, seconds + run_seconds)
            counts[ANSWERED] += requests
            counts[ROWS] += rows
            counts[RUNS] += 1
            counts[STEPS] += steps
            counts[PADDED_STEPS] += padded_steps
            counts[RUN_SECONDS] += run_seconds
            counts[REQUEST_RUN_SECONDS] += requests * run_seconds
            counts[WAIT_SECONDS] += wait_seconds
            counts[ROW_BUCKET[rows] if rows < _MANY_ROWS else _MANY_ROWS_BUCKET] += 1
            counts[RUN_BUCKETS + bisect_left(SECONDS_BOUNDS, run_seconds)] += 1
            for arrived, together in _by_arrival(arrivals):
                seconds = ended - arrived
                counts[ANSWER_BUCKETS + bisect_left(SECONDS_BOUNDS, seconds)] += together
                counts[WAIT_BUCKETS + bisect_left(SECONDS_BOUNDS, seconds - run_seconds)] += together

    def record_failure(self, seconds: float) -> None:
        """Count a request whose run failed, `seconds` after its arrival."""
        with self._lock:
            self.failures += 1
            self.failed_seconds += seconds
            self.counts[places.FAILED_SECONDS] += seconds

    def record_dropped(self, seconds: float) -> None:
        """Count a request that was not run, since its caller no longer waits, `seconds` after its arrival."""
        with self._lock:
            self.dropped += 1
            self.failed_seconds += seconds
            self.counts[places.FAILED_SECONDS] += seconds


def _by_arrival(arrivals: Sequence[float]) -> Iterable[tuple[float, int]]:
    """Give each time at which some have arrived, with how many: what the lane has read together has one time."""
    if arrivals and arrivals.count(arrivals[0]) == len(arrivals):
        return ((arrivals[0], len(arrivals)),)
    return Counter(arrivals).items()
