"""Counters of a model version since it was loaded, stored in the process's table of counters.

Requests are counted before they are answered, so that the counters of a killed process include every response its
clients have received. All other values are counted afterwards, while the responses are being sent.
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
"""Maximum seconds that a reader waits until the last responses are fully counted, and seconds between two checks."""


class Statistics:
    """Counters of a model version. Any thread may write or read."""

    __slots__ = ("_before", "counts", "last", "sizes")

    def __init__(self) -> None:
        self.sizes: dict[int, tuple[int, float]] = {}  # calls and their total seconds, by rows without the padding row
        self.last = 0.0  # end of the last call, in seconds since the epoch (0 before the first)
        self.count_in(private_counts())

    def count_in(self, counts: Counts) -> None:
        """Use these counters from now on. All models with this name and version in the process share them."""
        self.counts = counts
        self._before = counts.tolist()

    def since_loaded(self) -> list[float]:
        """Return the counts since the model was loaded, once the last responses are fully counted."""
        deadline = time.monotonic() + _SETTLING_SECONDS
        while True:
            with ADDING:
                counts = self.counts.tolist()
            if places.is_settled(counts) or time.monotonic() > deadline:
                return [now - before for now, before in zip(counts, self._before, strict=True)]
            time.sleep(_LOOK_SECONDS)

    def answering(self, requests: int) -> None:
        """Count requests that have been run and are about to be answered."""
        with ADDING:
            self.counts[ANSWERED] += requests

    def record_run(
        self,
        rows: int,
        seconds: float,
        steps: int,
        padded_steps: int,
        arrivals: Sequence[float] = (),
        ended: float = 0.0,
    ) -> None:
        """Count an inference call. `arrivals` and `ended` (`clock`) are for answered requests, a chunk has none."""
        counts = self.counts
        self.last = time.time()
        with ADDING:
            number, together = self.sizes.get(rows, _NONE)
            self.sizes[rows] = number + 1, together + seconds
            counts[STEPS] += steps
            if padded_steps:
                counts[PADDED_STEPS] += padded_steps
            counts[RUN_SECONDS] += seconds
            counts[ROW_BUCKET[rows] if rows < _MANY_ROWS else _MANY_ROWS_BUCKET] += 1
            counts[RUN_BUCKETS + bisect_left(SECONDS_BOUNDS, seconds)] += 1
            if arrivals:
                _add_answers(counts, rows, seconds, arrivals, ended)

    def record_answers(self, rows: int, run_seconds: float, arrivals: Sequence[float], ended: float) -> None:
        """Count requests answered after their last chunk, `run_seconds` after their first chunk began."""
        with ADDING:
            _add_answers(self.counts, rows, run_seconds, arrivals, ended)

    def record_failure(self, seconds: float) -> None:
        """Count a request whose inference failed, `seconds` after its arrival."""
        self._count(places.FAILED, seconds)

    def record_dropped(self, seconds: float) -> None:
        """Count a request that was dropped because its caller no longer waits, `seconds` after its arrival."""
        self._count(places.DROPPED, seconds)

    def _count(self, place: int, seconds: float) -> None:
        with ADDING:
            self.counts[place] += 1
            self.counts[places.FAILED_SECONDS] += seconds


def _add_answers(counts: Counts, rows: int, run_seconds: float, arrivals: Sequence[float], ended: float) -> None:
    """Count answered requests. The caller must hold the lock."""
    requests, arrived = len(arrivals), arrivals[0]
    counts[ROWS] += rows
    counts[REQUEST_RUN_SECONDS] += requests * run_seconds
    if requests == 1 or arrivals.count(arrived) == requests:  # the fast path read them together
        seconds = ended - arrived
        waited = seconds - run_seconds
        counts[WAIT_SECONDS] += requests * waited
        counts[WAIT_BUCKETS + bisect_left(SECONDS_BOUNDS, waited)] += requests
        counts[ANSWER_BUCKETS + bisect_left(SECONDS_BOUNDS, seconds)] += requests  # must be last: see `is_settled`
        return
    counts[WAIT_SECONDS] += requests * (ended - run_seconds) - sum(arrivals)
    for arrived, together in Counter(arrivals).items():
        seconds = ended - arrived
        counts[WAIT_BUCKETS + bisect_left(SECONDS_BOUNDS, seconds - run_seconds)] += together
        counts[ANSWER_BUCKETS + bisect_left(SECONDS_BOUNDS, seconds)] += together
