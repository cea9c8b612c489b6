"""Medians over rounds, and ratios within rounds.

The speed of a shared machine changes between rounds, and less so within one. So two servers are compared by the ratios
of their metrics in the same round.
"""

import math
import statistics
from collections.abc import Mapping, Sequence

__all__ = [
    "Metrics",
    "Rounds",
    "fastest_quarter_ratio",
    "median_interval",
    "median_of_rounds",
    "median_ratio",
    "percentile",
    "speed_ratios",
]

Metrics = Mapping[str, float]
"""What was measured of one server in one round: values by the metric's name, which ends with its unit."""

Rounds = Mapping[str, Sequence[Metrics]]
"""The metrics of each server by its name, one entry for each round."""


def median_of_rounds(rounds: Rounds, server: str, metric: str) -> float | None:
    """Return the median of a server's metric over the rounds; None if a round lacks it."""
    each = rounds.get(server, ())
    if not each or any(metric not in metrics for metrics in each):
        return None
    return statistics.median(metrics[metric] for metrics in each)


def median_ratio(rounds: Rounds, server: str, against: str, metric: str) -> float | None:
    """Return the median over the rounds of a server's metric divided by the other server's in the same round.

    None if a round lacks one of the two, or the divisor is zero.
    """
    pairs = list(zip(rounds.get(server, ()), rounds.get(against, ()), strict=False))
    if not pairs or any(metric not in a or not b.get(metric) for a, b in pairs):
        return None
    return statistics.median(a[metric] / b[metric] for a, b in pairs)


def speed_ratios(rounds: Rounds, server: str, against: str, metric: str) -> list[float]:
    """Divide a server's speed by the other server's in each round; rounds that lack a metric are left out.

    The speed is the metric itself for a rate ("…/s"), and its inverse for a time: more than 1 is faster.
    """
    pairs = zip(rounds.get(server, ()), rounds.get(against, ()), strict=False)
    values = [(a[metric], b[metric]) for a, b in pairs if a.get(metric) and b.get(metric)]
    return [a / b if _is_rate(metric) else b / a for a, b in values]


def fastest_quarter_ratio(rounds: Rounds, server: str, against: str, metric: str) -> float | None:
    """Divide a server's speed by the other server's, each the median of its fastest quarter of rounds.

    Other work on the machine only slows a server down, so it has disturbed these rounds least. None without rounds.
    """
    medians = []
    for name in (server, against):
        values = [metrics[metric] for metrics in rounds.get(name, ()) if metrics.get(metric)]
        if not values:
            return None
        values.sort(reverse=_is_rate(metric))
        medians.append(statistics.median(values[: math.ceil(len(values) / 4)]))
    this, other = medians
    return this / other if _is_rate(metric) else other / this


def median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Return the confidence interval of the median, for any distribution; None if there are too few values.

    The interval lies between two order statistics: the number of n values below the true median has the binomial
    distribution (n, 1/2).
    """
    ordered, left_out, tail = sorted(values), 0, 0.0
    while left_out < len(ordered):
        tail += math.comb(len(ordered), left_out) / 2 ** len(ordered)
        if tail > (1 - confidence) / 2:
            break
        left_out += 1
    return (ordered[left_out - 1], ordered[-left_out]) if left_out else None


def percentile(values: Sequence[float], fraction: float) -> float:
    """Return the smallest value that at least this fraction of the values does not exceed (nearest rank).

    Raises:
        ValueError: If there are no values.
    """
    if not values:
        raise ValueError("no values, so there is no percentile")
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * fraction) - 1, 0)]


def _is_rate(metric: str) -> bool:
    return metric.endswith("/s")
