"""Medians over rounds, and ratios within rounds.

The speed of a shared machine changes between rounds, and changes less within a round. So two servers are compared by
the ratios of their metrics in the same round.
"""

import statistics
from collections.abc import Mapping, Sequence

import numpy as np

Metrics = Mapping[str, float]
"""The metrics of one server in one round: values by the metric's name, which ends with its unit."""

Rounds = Mapping[str, Sequence[Metrics]]
"""The metrics of each server by its name, one entry for each round."""


def median_of_rounds(rounds: Rounds, server: str, metric: str) -> float | None:
    """Return the median of a server's metric over the rounds, or None if a round lacks it."""
    each = rounds.get(server, ())
    if not each or any(metric not in metrics for metrics in each):
        return None
    return statistics.median(metrics[metric] for metrics in each)


def median_ratio(rounds: Rounds, server: str, against: str, metric: str) -> float | None:
    """Return the median over the rounds of a server's metric divided by the other server's in the same round.

    None if a round lacks a metric, or the divisor is zero.
    """
    ratios = ratios_by_round(rounds, server, against, metric)
    return statistics.median(ratios) if ratios and len(ratios) == len(rounds[server]) else None


def ratios_by_round(rounds: Rounds, server: str, against: str, metric: str) -> list[float]:
    """Divide a server's metric by the other server's metric in each round. Rounds that lack a metric are left out."""
    pairs = zip(rounds.get(server, ()), rounds.get(against, ()), strict=False)
    return [a[metric] / b[metric] for a, b in pairs if metric in a and b.get(metric)]


def percentile(values: Sequence[float], fraction: float) -> float:
    """Return the smallest value that at least this fraction of the values does not exceed (nearest rank)."""
    return float(np.quantile(values, fraction, method="inverted_cdf"))
