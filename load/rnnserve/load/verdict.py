"""Judges whether a load meets an objective, and whether the generator limited the measurement."""

import enum
from dataclasses import dataclass

from rnnserve.load.confidence import Interval, share_interval
from rnnserve.load.load_level import LatencyLimit, LatencyObjective
from rnnserve.load.load_result import LoadResult
from rnnserve.load.units import format_duration, format_share

__all__ = ["Decision", "LimitVerdict", "Verdict", "explain_generator_limit", "judge"]

_GENERATOR_FAILURES = ("NOT_SENT", "DEADLINE_EXCEEDED")
"""Failures that a late generator may cause."""

_LATE_NS = 1_000_000
_LATE_FRACTION = 0.2
_BUSY_FRACTION = 0.9


class Decision(enum.StrEnum):
    """The verdict on an objective."""

    MET = "met"
    MISSED = "missed"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class LimitVerdict:
    """The verdict on one limit: the number of requests over the limit, and the interval of their share.

    `may_be_the_generator` is true if the limit is missed only because the generator sent requests late.
    """

    limit: LatencyLimit
    decision: Decision
    sent: int
    over: int
    interval: Interval
    may_be_the_generator: bool

    def text(self, confidence: float) -> str:
        """Return the share of slow requests with its interval, and the share that the limit allows."""
        text = f"{self.over:,} of {self.sent:,} requests took longer than {format_duration(self.limit.nanoseconds)}"
        if self.limit.percent == 100:
            return f"{text}; p100 allows none"
        shares = f"{format_share(self.interval.low)} to {format_share(self.interval.high)}"
        text += f", which is {shares} with {100 * confidence:.6g}% confidence; p{self.limit.percent:g} allows "
        text += format_share(self.limit.allowed)
        return f"{text}. Send more requests" if self.decision is Decision.INCONCLUSIVE else text


@dataclass(frozen=True)
class Verdict:
    """The verdict on an objective at one load, and on each of its limits.

    `reasons` are the reasons other than its limits: failed requests, or the generator.
    """

    decision: Decision
    confidence: float
    limits: tuple[LimitVerdict, ...]
    reasons: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The reason for the verdict, in a sentence or two."""
        shown = {
            Decision.MET: tuple(Decision),
            Decision.MISSED: (Decision.MISSED,),
            Decision.INCONCLUSIVE: (Decision.MISSED, Decision.INCONCLUSIVE),
        }[self.decision]
        limits = [limit.text(self.confidence) for limit in self.limits if limit.decision in shown]
        return "; ".join([*self.reasons, *limits])


def judge(result: LoadResult, objective: LatencyObjective) -> Verdict:
    """Judge one load, or the sum of its runs.

    No failure is allowed, because otherwise a server could meet any limit by refusing slow requests. If the generator
    may be the reason for a miss, because it sent late or was busy, the verdict is inconclusive. A generator that sends
    late never makes latencies look shorter, so "met" stays "met".
    """
    statistics = result.statistics
    limits = tuple(_judge_limit(result, limit, objective.confidence) for limit in objective.limits)
    failures = tuple(f"{count:,} x {status}" for status, count in statistics.errors.items())

    def verdict(decision: Decision, *reasons: str) -> Verdict:
        return Verdict(decision, objective.confidence, limits, reasons)

    if not statistics.sent:
        return verdict(Decision.INCONCLUSIVE, "no request was sent")
    if any(status not in _GENERATOR_FAILURES for status in statistics.errors):
        return verdict(Decision.MISSED, *failures)
    missed = [limit for limit in limits if limit.decision is Decision.MISSED]
    if failures or missed:
        if explain_generator_limit(result) is not None:
            return verdict(Decision.INCONCLUSIVE, *failures, "the load generator may be the bottleneck")
        if failures or not all(limit.may_be_the_generator for limit in missed):
            return verdict(Decision.MISSED, *failures)
        return verdict(
            Decision.INCONCLUSIVE, "the generator sent late, and no limit is missed from the actual sends on"
        )
    if all(limit.decision is Decision.MET for limit in limits):
        return verdict(Decision.MET)
    return verdict(Decision.INCONCLUSIVE)


def _judge_limit(result: LoadResult, limit: LatencyLimit, confidence: float) -> LimitVerdict:
    """Compare the interval of the share of slow requests with the allowed share."""
    sent = result.statistics.sent

    def decide(over: int) -> tuple[Decision, Interval]:
        if not sent:
            return Decision.INCONCLUSIVE, Interval(0.0, 1.0)
        interval = share_interval(over, sent, confidence)
        if limit.percent == 100:  # a sample can't show this for further requests, so only the measured ones count
            return Decision.MISSED if over else Decision.MET, interval
        if interval.high < limit.allowed:
            return Decision.MET, interval
        return Decision.MISSED if interval.low > limit.allowed else Decision.INCONCLUSIVE, interval

    over = result.statistics.count_over(limit.nanoseconds)
    decision, interval = decide(over)
    from_send, _ = decide(result.statistics.count_over(limit.nanoseconds, from_send=True))
    may_be_the_generator = decision is Decision.MISSED and from_send is not Decision.MISSED
    return LimitVerdict(limit, decision, sent, over, interval, may_be_the_generator)


def explain_generator_limit(result: LoadResult) -> str | None:
    """Return why the generator, not the server, may have limited the measurement, or None if it did not.

    Sends count as late if the p99 of the send lag is above 1 ms and above a fifth of the measured p99 latency. A
    smaller lag hardly changes the figures.
    """
    statistics, lag = result.statistics, result.lag.percentile(99)
    busiest = max(statistics.cpu, default=0.0)
    reasons = []
    if "NOT_SENT" in statistics.errors:
        reasons.append(f"{statistics.errors['NOT_SENT']:,} requests timed out before it sent them")
    if lag > _LATE_NS and lag > _LATE_FRACTION * result.latency.percentile(99):
        reasons.append(f"its p99 send lag was {format_duration(lag)}, which the latencies include")
    if busiest > _BUSY_FRACTION:
        reasons.append(f"it kept {busiest:.0%} of a core busy")
    if not reasons:
        return None
    remedy = "Use more --processes" if busiest > _BUSY_FRACTION else "Stop other programs on this machine"
    return f"the load generator may be the bottleneck: {', '.join(reasons)}. {remedy}"
