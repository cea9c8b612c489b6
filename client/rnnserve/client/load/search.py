"""Finding the highest rate that holds an objective, in a bounded number of loads."""

from collections.abc import Callable

__all__ = ["highest_rate"]

_PRECISION = 1.05
_LOWEST, _HIGHEST = 1.0, 1_000_000.0


def highest_rate(holds: Callable[[float], bool], start: float, *, loads: int = 16) -> float | None:
    """Find the highest rate that holds: doubling (or halving, where the first does not), then bisection.

    Args:
        holds: Makes a load of a rate and says whether it held.
        start: The first rate.
        loads: How many it may make.

    Returns:
        The highest rate that was seen to hold, within 5 % of the lowest seen not to, unless the loads ran out before;
        None where none held.
    """
    held: float | None = None
    broke: float | None = None
    rate = start
    for _ in range(loads):
        if holds(rate):
            held = rate
        else:
            broke = rate
        if held is not None and broke is not None:
            # The geometric middle: what counts is the ratio of two rates.
            following = _rounded((held * broke) ** 0.5)
            if broke <= held * _PRECISION or not held < following < broke:
                break
        else:
            following = _rounded(rate * 2 if broke is None else rate / 2)
            following = min(max(following, _LOWEST), _HIGHEST)
            if following == rate:
                break
        rate = following
    return held


def _rounded(rate: float) -> float:
    """Return a rate with three significant digits: no load is more exact than that."""
    return float(f"{rate:.3g}")
