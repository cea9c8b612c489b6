"""Counts of one generator while its load runs, at the looks at which the load may end."""

import numpy as np
import numpy.typing as npt

from rnnserve.load.early_stopping import LOOKS
from rnnserve.load.latency_counts import SLICES, LatencyCounts, count_latencies, empty_counts, slice_of
from rnnserve.load.samples import OK, RequestSamples

__all__ = ["GENERATOR_FAILURES", "InterimCounts"]

GENERATOR_FAILURES = ("NOT_SENT", "DEADLINE_EXCEEDED")
"""Failures whose reason may be a generator that is late."""


class InterimCounts:
    """Counts what a generator has recorded so far.

    At a look, the requests that were due before it count. All that can still pass have ended by then: a look is taken
    once the largest limit has passed since, and the largest send lag that was seen.

    Args:
        samples: The generator's samples, to which it appends.
        limits: Nanoseconds, one for each limit of the objective.
        begin: Begin of the measured time, nanoseconds.
        end: Planned end of the measured time, nanoseconds.
    """

    def __init__(self, samples: RequestSamples, limits: tuple[int, ...], begin: int, end: int) -> None:
        self._samples = samples
        self._limits = limits
        self._begin = begin
        self._end = end
        self._begun = np.zeros(SLICES, np.int64)
        self._ended = empty_counts(len(limits))
        self._counted_begun = 0
        self._counted_ended = 0
        self._largest_lag = 0
        self._looks = [round(look * SLICES) for look in LOOKS]

    def advance(self) -> None:
        """Count what was recorded since the last call."""
        samples = self._samples
        begun = np.array(samples.begun[self._counted_begun :], np.int64)  # (new requests,) nanoseconds
        self._counted_begun += len(begun)
        begun = begun[begun >= self._begin]
        self._begun += np.bincount(slice_of(begun, self._begin, self._end), minlength=SLICES)
        new = slice(self._counted_ended, len(samples.due))
        due, sent, done, status = (
            np.array(numbers[new], np.int64)  # (ended requests,)
            for numbers in (samples.due, samples.sent, samples.done, samples.status)
        )
        self._counted_ended = new.stop
        self._largest_lag = max(self._largest_lag, int((sent - due).max(initial=0)))
        measured = due >= self._begin
        counted = count_latencies(
            self._limits,
            due[measured],
            sent[measured],
            done[measured],
            status[measured] == OK,
            begin=self._begin,
            end=self._end,
        )
        self._ended += LatencyCounts(
            counted.sent, counted.over, counted.over_from_send, self._count_failures(status[measured])
        )

    def take_look(self, now: int) -> LatencyCounts | None:
        """Return the counts of the next look, if it is time for it.

        Args:
            now: The samples' clock, nanoseconds.
        """
        if not self._looks:
            return None
        slices = self._looks[0]
        cutoff = self._begin + (self._end - self._begin) * slices // SLICES
        begun = self._samples.begun
        if now < cutoff + max(self._limits) + self._largest_lag or not begun or begun[-1] < cutoff:
            return None
        del self._looks[0]
        unended = self._begun - self._ended.sent
        counts = LatencyCounts(
            self._begun, self._ended.over + unended, self._ended.over_from_send + unended, self._ended.failed
        )
        return counts.until(slices)

    def _count_failures(self, status: npt.NDArray[np.int64]) -> int:
        names = self._samples.names
        excused = [OK, *(number for number, name in names.items() if name in GENERATOR_FAILURES)]
        return int((~np.isin(status, excused)).sum())
