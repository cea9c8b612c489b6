"""How many requests of how many must pass, before a percentile is known to be within its limit.

The test is the one of MLPerf LoadGen (loadgen/early_stopping.cc of mlcommons/inference). If a request exceeds the limit
with a probability of 1 - p or more, then so few of them as were seen do so by chance with a probability below the risk.
LoadGen asks it once, after the run. Here it may also be asked during the run, at looks whose times were fixed before,
and a test that is repeated is wrong more often than one that is not. A tenth of the risk is therefore divided among the
looks, and nine tenths are left for the end: together they do not exceed the risk (Bonferroni's inequality).

"Not held" may be said at every look, "held" at the one in the middle of the planned duration only: a queue that grows
slowly shows late. LoadGen has a least duration of ten minutes for it.
"""

from dataclasses import dataclass

from rnnserve.load.distributions import binomial_at_least, binomial_at_most

__all__ = [
    "HOLDING_LOOK",
    "LOOKS",
    "Risks",
    "exceeds",
    "fewest_passed",
    "holds",
    "most_over",
    "requests_to_decide",
    "risks_at_end",
    "risks_at_look",
]

LOOKS = (0.125, 0.25, 0.5)
"""Parts of the planned duration after which a load may end because the objective is decided."""

HOLDING_LOOK = LOOKS[-1]
"""The look at which "held" may be said."""

_LOOKS_SHARE = 0.1


@dataclass(frozen=True)
class Risks:
    """Largest probabilities of wrong decisions in one test.

    Attributes:
        held: Of "held", where the percentile is not within its limit; 0 if it may not be said.
        not_held: Of "not held", where it is.
    """

    held: float
    not_held: float


def risks_at_look(risk: float, *, is_holding: bool) -> Risks:
    """Return the parts of a risk that one look takes; `is_holding` if "held" may be said at it."""
    return Risks(risk * _LOOKS_SHARE if is_holding else 0.0, risk * _LOOKS_SHARE / len(LOOKS))


def risks_at_end(risk: float, *, has_looks: bool) -> Risks:
    """Return the parts of a risk that are left for the end of a load, which may have had looks."""
    left = risk * (1 - _LOOKS_SHARE) if has_looks else risk
    return Risks(left, left)


def holds(over: int, total: int, percent: float, risk: float) -> bool:
    """Return whether `over` of `total` requests over the limit show that the percentile is within it.

    Args:
        over: Requests that exceeded the limit.
        total: All requests.
        percent: The percentile, below 100.
        risk: Largest probability of True if the percentile is not within its limit.
    """
    return binomial_at_most(over, total, 1 - percent / 100) < risk


def exceeds(over: int, total: int, percent: float, risk: float) -> bool:
    """Return whether `over` of `total` requests over the limit show that the percentile is not within it.

    Args:
        over: Requests that exceeded the limit.
        total: All requests.
        percent: The percentile, below 100.
        risk: Largest probability of True if the percentile is within its limit.
    """
    return binomial_at_least(over, total, 1 - percent / 100) < risk


def fewest_passed(over: int, percent: float, risk: float) -> int:
    """Return how many requests must pass beside `over` that do not: the smallest number for which `holds`."""
    most = 1
    while not holds(over, most + over, percent, risk):
        most *= 2
    least = most // 2  # does not hold, or is 0
    while most - least > 1:
        middle = (least + most) // 2
        if holds(over, middle + over, percent, risk):
            most = middle
        else:
            least = middle
    return most


def requests_to_decide(percent: float, risk: float) -> int:
    """Return twice the number of requests, none of which exceeds the limit, that shows that a percentile is held."""
    return 1 if percent == 100 else 2 * fewest_passed(0, percent, risk)


def most_over(total: int, percent: float, risk: float) -> int:
    """Return how many of `total` requests may exceed the limit: the largest number for which `holds`; -1 for none."""
    least, most = -1, total  # holds, or is -1; does not hold
    while most - least > 1:
        middle = (least + most) // 2
        if holds(middle, total, percent, risk):
            least = middle
        else:
            most = middle
    return least
