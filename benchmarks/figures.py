"""Medians over rounds, and ratios within them: the machine's mood changes between rounds, less so within one."""

import math
import statistics
from collections.abc import Mapping, Sequence

__all__ = [
    "Figures",
    "Rounds",
    "fastest_quarter_ratio",
    "median",
    "median_interval",
    "percentile",
    "ratio",
    "speed_ratios",
]

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


def speed_ratios(rounds: Rounds, server: str, against: str, metric: str) -> list[float]:
    """Divide one server's speed by the other's in each round; a round that lacks a figure of either is left out.

    The speed is the figure itself for a rate ("…/s"), and its inverse for a time: more than 1 is faster.
    """
    pairs = zip(rounds.get(server, ()), rounds.get(against, ()), strict=False)
    figures = [(a[metric], b[metric]) for a, b in pairs if a.get(metric) and b.get(metric)]
    return [a / b if metric.endswith("/s") else b / a for a, b in figures]


def fastest_quarter_ratio(rounds: Rounds, server: str, against: str, metric: str) -> float | None:
    """Divide one server's speed by the other's, each the median of its fastest quarter of rounds; None without figures.

    Other work on the machine only ever slows a server down, so these rounds are the ones that it disturbs least.
    """
    is_rate = metric.endswith("/s")
    medians = []
    for name in (server, against):
        ordered = sorted((figures[metric] for figures in rounds.get(name, ()) if figures.get(metric)), reverse=is_rate)
        if not ordered:
            return None
        medians.append(statistics.median(ordered[: -(-len(ordered) // 4)]))
    this, other = medians
    return this / other if is_rate else other / this


def median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Return the confidence interval of the median, whatever the distribution; None for too few values.

    It lies between two order statistics: how many of n values lie below the true median is binomial, (n, 1/2).
    """
    ordered, left_out, tail = sorted(values), 0, 0.0
    while left_out < len(ordered):
        tail += math.comb(len(ordered), left_out) / 2 ** len(ordered)
        if tail > (1 - confidence) / 2:
            break
        left_out += 1
    return (ordered[left_out - 1], ordered[-left_out]) if left_out else None


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
