"""Medians over rounds, and ratios within them: the machine's mood changes between rounds, less so within one."""

import statistics
from collections.abc import Mapping, Sequence

__all__ = ["Figures", "Rounds", "median", "percentile", "ratio"]

Figures = Mapping[str, float]
"""What one client says of one server in one round, by metric."""

Rounds = Mapping[str, Sequence[Figures]]
"""The figures of each server, a round after the other."""


def median(rounds: Rounds, server: str, metric: str) -> float | None:
    """The median of a server's figure over the rounds; None where a round lacks it."""
    each = rounds.get(server, ())
    if not each or any(metric not in figures for figures in each):
        return None
    return statistics.median(figures[metric] for figures in each)


def ratio(rounds: Rounds, server: str, against: str, metric: str) -> float | None:
    """The median over the rounds of one server's figure divided by the other's in the same round.

    None where a round lacks one of them, or divides by zero.
    """
    pairs = list(zip(rounds.get(server, ()), rounds.get(against, ()), strict=False))
    if not pairs or any(metric not in a or not b.get(metric) for a, b in pairs):
        return None
    return statistics.median(a[metric] / b[metric] for a, b in pairs)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed (nearest rank).

    Raises:
        ValueError: If there are no values.
    """
    if not values:
        raise ValueError("there is no percentile of nothing")
    ordered = sorted(values)
    rank = -(-len(ordered) * share // 1)  # rounded up
    return ordered[max(int(rank) - 1, 0)]
