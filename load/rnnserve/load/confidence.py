"""Confidence intervals, from scipy: of a share of requests, and of a mean.

scipy takes a second to import, so only the functions that use it import it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rnnserve.client import InvalidRequest
from rnnserve.common.extras import missing_package

__all__ = [
    "CONFIDENCE",
    "Interval",
    "largest_count",
    "mean_interval",
    "require_scipy",
    "share_interval",
]

CONFIDENCE = 0.99
"""The default confidence, as in MLPerf LoadGen."""


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


def require_scipy(option: str) -> None:
    """Check that scipy can be imported, before a load begins. `option` is the option that needs it."""
    try:
        import scipy.stats  # noqa: F401
    except ModuleNotFoundError as error:
        raise InvalidRequest(f"{option} {missing_package(error.name, 'report')}") from error


def share_interval(count: int, total: int, confidence: float) -> Interval:
    """Return the interval of a share, from a sample of `count` out of `total` independent events (Clopper-Pearson)."""
    from scipy import stats

    return Interval(*map(float, stats.binomtest(count, total).proportion_ci(confidence, method="exact")))


def largest_count(total: int, share: float, confidence: float) -> int:
    """Return the largest count out of `total` events whose `share_interval` does not lie above `share`."""
    from scipy import stats

    return int(stats.binom.isf((1 - confidence) / 2, total, share))


def mean_interval(values: Sequence[float], confidence: float) -> Interval:
    """Return the interval of the mean of two or more values (Student's t)."""
    from scipy import stats

    mean, half = np.mean(values), stats.t.ppf((1 + confidence) / 2, len(values) - 1) * np.std(values, ddof=1)
    half /= len(values) ** 0.5
    return Interval(float(mean - half), float(mean + half))
