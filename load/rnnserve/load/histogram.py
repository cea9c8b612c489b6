"""A high-dynamic-range histogram of durations: three significant digits from a nanosecond to hours, in a few kilobytes.

The layout is that of HdrHistogram (Gil Tene, http://hdrhistogram.org): 1024 buckets of equal width within each power of
two, so that a bucket is never wider than a thousandth of the values in it.

Written by hand, although the package hdrhistogram is well kept: that package records one value per Python call, has no
wheel for Linux on ARM, and installs setuptools and pbr as dependencies. This code records whole arrays of durations at
once, with numpy only.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Histogram"]

_BITS = 10
_WIDTH = 1 << _BITS


class Histogram:
    """Counts of durations, in nanoseconds. Histograms can be merged and pickled.

    Attributes:
        counts: (buckets,) int64, count of each bucket; empty buckets may follow the last used one.
        count: Number of recorded durations.
        total: Exact sum of the durations, nanoseconds.
        min: Exact minimum, nanoseconds; 0 if there are no durations.
        max: Exact maximum, nanoseconds; 0 if there are no durations.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(_WIDTH * 2, np.int64)
        self.count = 0
        self.total = 0
        self.min = 0
        self.max = 0

    def record(self, values: npt.NDArray[np.int64]) -> None:
        """Add durations, (values,) int64, nanoseconds; negative durations count as 0."""
        if not values.size:
            return
        values = np.maximum(values, 0)
        counts = np.bincount(_bucket(values))
        self._grow(len(counts))
        self.counts[: len(counts)] += counts
        self._include(len(values), int(values.sum()), int(values.min()), int(values.max()))

    def merge(self, other: "Histogram") -> None:
        """Add the counts of another histogram."""
        if not other.count:
            return
        self._grow(len(other.counts))
        self.counts[: len(other.counts)] += other.counts
        self._include(other.count, other.total, other.min, other.max)

    @classmethod
    def merged(cls, histograms: Iterable["Histogram"]) -> "Histogram":
        """Return the sum of several histograms."""
        result = cls()
        for histogram in histograms:
            result.merge(histogram)
        return result

    @property
    def mean(self) -> float:
        """The exact mean, nanoseconds; 0 if there are no durations."""
        return self.total / self.count if self.count else 0.0

    @property
    def deviation(self) -> float:
        """The standard deviation, nanoseconds, within a thousandth of the largest duration; 0 if there are none."""
        if not self.count:
            return 0.0
        values, counts = np.array(self.buckets(), np.float64).T  # (buckets,) each
        return float(np.sqrt(np.average((values - self.mean) ** 2, weights=counts)))

    def percentile(self, percent: float) -> int:
        """Return the smallest duration that at least `percent` of the recorded durations do not exceed.

        The result, in nanoseconds, is rounded up to the end of its bucket, but not above the maximum; 0 if there are no
        durations.
        """
        if not self.count:
            return 0
        return self._at_rank(max(1, int(np.ceil(percent / 100 * self.count - 1e-9))))

    def largest_but(self, discarded: int) -> int:
        """Return the largest duration but so many larger ones, fewer than `count`; rounded as percentiles are."""
        return self._at_rank(self.count - discarded)

    def _at_rank(self, rank: int) -> int:
        """Return the duration of a rank, from 1 for the smallest, rounded up to the end of its bucket."""
        bucket = int(np.searchsorted(np.cumsum(self.counts), rank))
        return int(min(max(_last_value(bucket), self.min), self.max))

    def buckets(self) -> list[tuple[int, int]]:
        """Return (largest value in nanoseconds, count) of every non-empty bucket, ascending."""
        return [(_last_value(bucket), int(self.counts[bucket])) for bucket in np.flatnonzero(self.counts).tolist()]

    def __getstate__(self) -> dict[str, Any]:
        # The buckets after the largest value are empty.
        used = int(np.flatnonzero(self.counts)[-1]) + 1 if self.count else 1
        return {**self.__dict__, "counts": self.counts[:used].copy()}

    def _grow(self, size: int) -> None:
        if size > len(self.counts):
            self.counts = np.concatenate([self.counts, np.zeros(size - len(self.counts), np.int64)])

    def _include(self, count: int, total: int, smallest: int, largest: int) -> None:
        self.min = min(self.min, smallest) if self.count else smallest
        self.max = max(self.max, largest)
        self.count += count
        self.total += total


def _bucket(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the bucket of each value: the value itself below 2048, then 1024 buckets per power of two.

    Args:
        values: (values,) int64, nanoseconds.

    Returns:
        (values,) int64, indices of buckets.
    """
    # frexp's exponent is the number of bits; exact, since durations are far below 2 ** 53.
    shift = np.maximum(np.frexp(values.astype(np.float64))[1] - (_BITS + 1), 0).astype(np.int64)
    buckets: npt.NDArray[np.int64] = shift * _WIDTH + (values >> shift)
    return buckets


def _last_value(bucket: int) -> int:
    shift = max(bucket // _WIDTH - 1, 0)
    return ((bucket - shift * _WIDTH + 1) << shift) - 1
