"""Slopes in words: how a cost grows with a size.

Between two neighbouring points the cost grows as a power of the size: the slope in a plot with two logarithmic axes.
Neighbouring stretches of the same kind are one.
"""

import itertools
import math
from collections.abc import Sequence

__all__ = ["describe_slope"]

_LEVEL, _LINEAR = 0.15, (0.8, 1.2)
"""Powers below which a cost is level, and between which it is linear. Rounds differ by a tenth, which is a power of
0.07 over points of which each is four times the one before."""

_STRAIGHT = 1.5
"""How much the slopes of neighbouring pairs may differ for a straight line."""


def describe_slope(points: Sequence[tuple[float, float]], unit: str, each: str) -> str:
    """Say how a cost grows.

    Args:
        points: Pairs of size and cost, both above zero, by rising size.
        unit: The cost's unit.
        each: One more of the size, for example "step".

    Returns:
        For example "level, 30 to 33 µs, from 1 to 64; linear from 64 to 4,096: 0.5 µs a step"; for a single point, its
        cost.
    """
    if len(points) == 1:
        return f"{_number(points[0][1])} {unit} at {points[0][0]:,g}; one point has no slope"
    stretches = itertools.groupby(itertools.pairwise(points), key=lambda pair: _kind(*pair))
    return "; ".join(_describe(kind, [*pairs], unit, each) for kind, pairs in stretches)


def _kind(start: tuple[float, float], end: tuple[float, float]) -> str:
    power = math.log(end[1] / start[1]) / math.log(end[0] / start[0])
    if power <= -_LEVEL:
        return "falls"
    if power < _LEVEL:
        return "level"
    least, most = _LINEAR
    return "slower" if power < least else "linear" if power <= most else "faster"


def _describe(kind: str, pairs: Sequence[tuple[tuple[float, float], tuple[float, float]]], unit: str, each: str) -> str:
    (first, low), (last, high) = pairs[0][0], pairs[-1][1]
    costs = [low, *(end[1] for _, end in pairs)]
    where = f"from {first:,g} to {last:,g}"
    span = f"{_number(low)} to {_number(high)} {unit}"
    if kind == "level":
        return f"level, {_number(min(costs))} to {_number(max(costs))} {unit}, {where}"
    if kind == "falls":
        return f"falls, {span}, {where}"
    if kind == "linear":
        return f"linear {where}: {_number((high - low) / (last - first))} {unit} a {each}"
    if kind == "slower":
        words = "linear on top of a fixed cost" if _is_straight(pairs) else "slower than linear"
        return f"{words}, {span}, {where}: {_number((high - low) / (last - first))} {unit} a {each}"
    power = math.log(high / low) / math.log(last / first)
    return f"faster than linear, {span}, {where}: with the power {power:.1f}"


def _is_straight(pairs: Sequence[tuple[tuple[float, float], tuple[float, float]]]) -> bool:
    """Return whether each more of the size costs about the same; not known of a single pair."""
    slopes = [(high - low) / (last - first) for (first, low), (last, high) in pairs]
    return len(slopes) > 1 and max(slopes) <= _STRAIGHT * min(slopes)


def _number(value: float) -> str:
    """Format with three digits: 0.0123, 1.23, 12.3, 1,230."""
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{round(value, digits):,.{max(digits, 0)}f}"
