"""How many requests were due, and how many exceeded each limit of an objective, by slice of the measured time."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

__all__ = ["SLICES", "LatencyCounts", "count_latencies", "empty_counts", "slice_of"]

SLICES = 64
"""Equal slices of the measured time of one run."""

_FEWEST_SLICES = 8
_BUNCHED = 2.0


@dataclass(frozen=True)
class LatencyCounts:
    """Counts by slice of the measured time, of requests that were due in it.

    A request exceeds a limit if no answer to it came in time: also if it failed.

    Attributes:
        sent: (slices,) int64, requests.
        over: (limits, slices) int64, requests that exceeded a limit, counted from when they were due.
        over_from_send: (limits, slices) int64, the same, counted from when they were sent: without the generator's lag.
        failed: Requests that failed for a reason that cannot be the generator.
    """

    sent: npt.NDArray[np.int64]
    over: npt.NDArray[np.int64]
    over_from_send: npt.NDArray[np.int64]
    failed: int = 0

    def __add__(self, other: Self) -> "LatencyCounts":
        """Return the sum over generators that ran at the same time."""
        return LatencyCounts(
            self.sent + other.sent,
            self.over + other.over,
            self.over_from_send + other.over_from_send,
            self.failed + other.failed,
        )

    @classmethod
    def joined(cls, runs: Iterable["LatencyCounts"]) -> "LatencyCounts":
        """Return the slices of runs that followed one another."""
        counts = list(runs)
        return cls(
            np.concatenate([run.sent for run in counts]),
            np.concatenate([run.over for run in counts], axis=1),
            np.concatenate([run.over_from_send for run in counts], axis=1),
            sum(run.failed for run in counts),
        )

    def until(self, slices: int) -> "LatencyCounts":
        """Return the counts of the first slices only."""
        return LatencyCounts(self.sent[:slices], self.over[:, :slices], self.over_from_send[:, :slices], self.failed)

    def bunching(self, over: npt.NDArray[np.int64]) -> float:
        """Return by how much the number of requests over a limit varies between slices more than by chance.

        Requests that one stall delays are not independent: a stall that delays 50 says as much as one request. The
        result is the variance between slices divided by that of independent requests, the design effect of surveys:
        so many requests say as much as one independent one.

        Args:
            over: (slices,) int64, a row of `over` or of `over_from_send`.

        Returns:
            1 where it is below 2, which a few requests reach by chance, or where there are fewer than eight slices.
        """
        used = self.sent > 0  # (slices,) bool
        total, exceeded = int(self.sent.sum()), int(over.sum())
        if used.sum() < _FEWEST_SLICES or exceeded in (0, total):
            return 1.0
        expected = self.sent[used] * (exceeded / total)  # (used slices,)
        variance = expected * (1 - exceeded / total)
        factor = float(((over[used] - expected) ** 2 / variance).sum() / (used.sum() - 1))
        return factor if factor > _BUNCHED else 1.0


def empty_counts(limits: int) -> LatencyCounts:
    """Return counts of no requests."""
    return LatencyCounts(
        np.zeros(SLICES, np.int64), np.zeros((limits, SLICES), np.int64), np.zeros((limits, SLICES), np.int64)
    )


def slice_of(due: npt.NDArray[np.int64], begin: int, end: int) -> npt.NDArray[np.int64]:
    """Return the slice of each request, (requests,) int64; what is due at the end is in the last one."""
    slices: npt.NDArray[np.int64] = np.clip((due - begin) * SLICES // max(1, end - begin), 0, SLICES - 1)
    return slices


def count_latencies(
    limits: Iterable[int],
    due: npt.NDArray[np.int64],
    sent: npt.NDArray[np.int64],
    done: npt.NDArray[np.int64],
    succeeded: npt.NDArray[np.bool_],
    *,
    begin: int,
    end: int,
) -> LatencyCounts:
    """Count measured requests that have ended.

    Args:
        limits: Nanoseconds, one for each limit.
        due: (requests,) nanoseconds: when each was due.
        sent: (requests,) nanoseconds: when it was sent.
        done: (requests,) nanoseconds: when it ended.
        succeeded: (requests,) whether it was answered.
        begin: Begin of the measured time, nanoseconds.
        end: End of the measured time, nanoseconds.
    """
    slices = slice_of(due, begin, end)

    def by_slice(chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        return np.bincount(slices[chosen], minlength=SLICES).astype(np.int64)

    whole = empty_counts(len(tuple(limits)))
    for index, limit in enumerate(limits):
        whole.over[index] = by_slice(~(succeeded & (done - due <= limit)))
        whole.over_from_send[index] = by_slice(~(succeeded & (done - sent <= limit)))
    return LatencyCounts(by_slice(np.ones(len(due), np.bool_)), whole.over, whole.over_from_send)
