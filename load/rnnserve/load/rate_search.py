"""Search for the highest rate that meets an objective, in a bounded number of loads."""

from collections.abc import Callable

__all__ = ["find_highest_rate"]

_PRECISION = 1.05
_LOWEST, _HIGHEST = 1.0, 1_000_000.0


def find_highest_rate(passes: Callable[[float], bool], start: float, *, loads: int = 16) -> float | None:
    """Find the highest rate that passes: double the rate (or halve it, if the first rate fails), then bisect.

    Args:
        passes: A function that runs a load at a rate, requests per second, and returns whether it met the objective.
        start: The first rate, requests per second.
        loads: Largest number of loads to run.

    Returns:
        The highest rate that passed, within 5 % of the lowest rate that failed unless `loads` ran out before; None if
        no rate passed.
    """
    passed: float | None = None
    failed: float | None = None
    rate = start
    for _ in range(loads):
        if passes(rate):
            passed = rate
        else:
            failed = rate
        if passed is not None and failed is not None:
            # The geometric mean, since the precision is a ratio of two rates.
            following = _rounded((passed * failed) ** 0.5)
            if failed <= passed * _PRECISION or not passed < following < failed:
                break
        else:
            following = _rounded(rate * 2 if failed is None else rate / 2)
            following = min(max(following, _LOWEST), _HIGHEST)
            if following == rate:
                break
        rate = following
    return passed


def _rounded(rate: float) -> float:
    """Return a rate with three significant digits; no load is more exact than that."""
    return float(f"{rate:.3g}")
