"""What a model has done: the numbers of its version in the process's table, since it was loaded.

A run's requests are counted before they are answered, so that a process that is killed has counted what its clients
have; all else is counted after that, while the answers travel.
"""

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

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
    SECONDS_BOUNDS,
    STEPS,
    WAIT_BUCKETS,
    WAIT_SECONDS,
)
from rnnserve.server.counting.table import ADDING, Counts, private_counts

__all__ = ["Statistics"]

_MANY_ROWS, _MANY_ROWS_BUCKET = len(ROW_BUCKET), places.ROW_BUCKETS_END - 1

_NONE = (0, 0.0)
_SETTLING_SECONDS, _LOOK_SECONDS = 0.1, 0.2e-3
"""Seconds that a reader waits until all of the last answers is counted, and between two looks."""


class Statistics:
    """Counts of a version. Any thread may write or read.

    Attributes:
        counts: Its numbers (`counting.places`), which other processes may read: of all models of this name and version
            that this process has loaded. What the properties say is what has been added since this one was.
        sizes: By rows of a run, its padding row not counted: how many runs of this model there were, and their seconds.
        last: When the last run ended, in seconds since the epoch; 0 before the first.
    """

    __slots__ = ("_before", "counts", "last", "sizes")

    def __init__(self) -> None:
        """Begin with nothing, in numbers that no other process reads."""
        self.counts: Counts = private_counts()
        self.sizes: dict[int, tuple[int, float]] = {}
        self.last = 0.0
        self._before = self.counts.tolist()

    def count_in(self, counts: Counts) -> None:
        """Add to these numbers from now on."""
        self.counts = counts
        self._before = counts.tolist()

    def since_loaded(self) -> list[float]:
        """The numbers that have been added since the model was loaded, when all of the last answers is counted."""
        deadline = time.monotonic() + _SETTLING_SECONDS
        while True:
            with ADDING:
                counts = self.counts.tolist()
            if places.is_settled(counts) or time.monotonic() > deadline:
                return [now - before for now, before in zip(counts, self._before, strict=True)]
            time.sleep(_LOOK_SECONDS)

    def answering(self, requests: int) -> None:
        """Count requests that have been run, and are answered next."""
        with ADDING:
            self.counts[ANSWERED] += requests

    def record(
        self,
        *,
        rows: int,
        run_seconds: float,
        arrivals: Sequence[float],
        ended: float,
        steps: int = 0,
        padded_steps: int = 0,
    ) -> None:
        """Count all else of a run whose requests have been answered.

        Args:
            rows: Number of rows of the requests, together.
            run_seconds: Seconds of the run.
            arrivals: Times of the requests' arrivals, in seconds on the clock of `clock`.
            ended: End of the run, on the same clock.
            steps: Steps of all of their rows, together.
            padded_steps: Steps that the run has made beside these.
        """
        counts, requests, arrived = self.counts, len(arrivals), arrivals[0]
        seconds = ended - arrived
        waited = seconds - run_seconds
        self.last = time.time()
        with ADDING:
            number, together = self.sizes.get(rows, _NONE)
            self.sizes[rows] = number + 1, together + run_seconds
            counts[ROWS] += rows
            counts[STEPS] += steps
            if padded_steps:
                counts[PADDED_STEPS] += padded_steps
            counts[RUN_SECONDS] += run_seconds
            counts[REQUEST_RUN_SECONDS] += requests * run_seconds
            counts[ROW_BUCKET[rows] if rows < _MANY_ROWS else _MANY_ROWS_BUCKET] += 1
            counts[RUN_BUCKETS + bisect_left(SECONDS_BOUNDS, run_seconds)] += 1
            if (
                requests == 1 or arrivals.count(arrived) == requests
            ):  # what the fast path has read together has one time
                counts[WAIT_SECONDS] += requests * waited
                counts[WAIT_BUCKETS + bisect_left(SECONDS_BOUNDS, waited)] += requests
                counts[ANSWER_BUCKETS + bisect_left(SECONDS_BOUNDS, seconds)] += requests  # the last: `is_settled`
            else:
                _add_each(counts, arrivals, ended, run_seconds)

    def record_chunk(self, *, rows: int, run_seconds: float, steps: int, padded_steps: int) -> None:
        """Count a run of a few steps of requests that are answered when they have ended.

        Args:
            rows: Number of rows of the run, without a padding row.
            run_seconds: Seconds of the run.
            steps: Steps of all of the rows, together.
            padded_steps: Steps that the run has made beside these.
        """
        counts = self.counts
        with ADDING:
            number, together = self.sizes.get(rows, _NONE)
            self.sizes[rows] = number + 1, together + run_seconds
            counts[STEPS] += steps
            counts[PADDED_STEPS] += padded_steps
            counts[RUN_SECONDS] += run_seconds
            counts[ROW_BUCKET[rows] if rows < _MANY_ROWS else _MANY_ROWS_BUCKET] += 1
            counts[RUN_BUCKETS + bisect_left(SECONDS_BOUNDS, run_seconds)] += 1

    def record_answers(self, *, rows: int, run_seconds: float, arrivals: Sequence[float], ended: float) -> None:
        """Count requests that have been answered after their last chunk.

        Args:
            rows: Number of rows of the requests, together.
            run_seconds: Seconds since they were taken in hand.
            arrivals: Times of the requests' arrivals, in seconds on the clock of `clock`.
            ended: End of their last chunk, on the same clock.
        """
        counts = self.counts
        self.last = time.time()
        with ADDING:
            counts[ROWS] += rows
            counts[REQUEST_RUN_SECONDS] += len(arrivals) * run_seconds
            _add_each(counts, arrivals, ended, run_seconds)

    def record_failure(self, seconds: float) -> None:
        """Count a request whose run failed, `seconds` after its arrival."""
        self._count(places.FAILED, seconds)

    def record_dropped(self, seconds: float) -> None:
        """Count a request that was not run, since its caller no longer waits, `seconds` after its arrival."""
        self._count(places.DROPPED, seconds)

    def _count(self, place: int, seconds: float) -> None:
        with ADDING:
            self.counts[place] += 1
            self.counts[places.FAILED_SECONDS] += seconds

    @property
    def requests(self) -> int:
        """Answered requests."""
        return round(self.since_loaded()[ANSWERED])

    @property
    def unsent(self) -> int:
        """Requests among the answered ones that were refused after their run, since the answer could not be held."""
        return round(self.since_loaded()[places.REFUSED_AFTER_RUN])

    @property
    def refused(self) -> int:
        """Requests that were refused, for whatever reason."""
        return round(sum(places.refusals(self.since_loaded())))

    @property
    def failures(self) -> int:
        """Requests whose run failed."""
        return round(self.since_loaded()[places.FAILED])

    @property
    def dropped(self) -> int:
        """Requests that were cancelled, or past their deadline, before their run."""
        return round(self.since_loaded()[places.DROPPED])

    @property
    def runs(self) -> int:
        """Batches run."""
        return round(places.runs(self.since_loaded()))

    @property
    def rows(self) -> int:
        """Answered rows: a request of batch 3 counts 3."""
        return round(self.since_loaded()[ROWS])

    @property
    def run_seconds(self) -> float:
        """Seconds of runs, each counted once for each of its requests: how long these were run, together."""
        return self.since_loaded()[REQUEST_RUN_SECONDS]

    @property
    def wait_seconds(self) -> float:
        """Seconds that requests have waited for their run, together."""
        return self.since_loaded()[WAIT_SECONDS]

    @property
    def failed_seconds(self) -> float:
        """Seconds from the arrival of failed and dropped requests to their refusal, together."""
        return self.since_loaded()[places.FAILED_SECONDS]


def _add_each(counts: Counts, arrivals: Sequence[float], ended: float, run_seconds: float) -> None:
    """Add how long requests have waited that have come at several times. With the lock."""
    counts[WAIT_SECONDS] += len(arrivals) * (ended - run_seconds) - sum(arrivals)
    for arrived, together in Counter(arrivals).items():
        seconds = ended - arrived
        counts[WAIT_BUCKETS + bisect_left(SECONDS_BOUNDS, seconds - run_seconds)] += together
        counts[ANSWER_BUCKETS + bisect_left(SECONDS_BOUNDS, seconds)] += together
