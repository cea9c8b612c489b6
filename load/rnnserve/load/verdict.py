"""Whether a load holds an objective: held, not held, or undecided, at the objective's confidence."""

import enum
import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rnnserve.load.early_stopping import (
    HOLDING_LOOK,
    Risks,
    exceeds,
    fewest_passed,
    holds,
    most_over,
    risks_at_end,
    risks_at_look,
)
from rnnserve.load.generator_limit import explain_generator_limit
from rnnserve.load.interim_counts import GENERATOR_FAILURES
from rnnserve.load.latency_counts import SLICES, LatencyCounts
from rnnserve.load.latency_objective import LatencyObjective
from rnnserve.load.load_level import LoadResult
from rnnserve.load.units import format_duration

__all__ = ["Decision", "LimitVerdict", "Verdict", "is_decided", "judge"]


class Decision(enum.StrEnum):
    """What is said of an objective."""

    HELD = "held"
    NOT_HELD = "not held"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class LimitVerdict:
    """What is said of one limit.

    Attributes:
        percent: The percentile.
        limit: Its limit, nanoseconds.
        decision: What the requests show, whatever delayed them.
        sent: Requests that count.
        over: Those that exceeded the limit.
        allowed: So many of `sent` may exceed it where it is held; -1 if `sent` are too few.
        needed: Requests that would show that it is held if no more than `over` exceeded it; 0 if none would.
        bunching: So many requests over the limit say as much as one independent one (see `LatencyCounts.bunching`).
        blames_generator: Whether it is not held, but might be if latency were counted from the actual send.
    """

    percent: float
    limit: int
    decision: Decision
    sent: int
    over: int
    allowed: int
    needed: int
    bunching: float
    blames_generator: bool

    @property
    def text(self) -> str:
        """The counts, and what would decide: "p99: 3 of 1,000 over 5.00 ms, at most 2 may be"."""
        limit = format_duration(self.limit)
        text = f"p{self.percent:g}: {self.over:,} of {self.sent:,} over {limit}"
        if self.bunching > 1:
            text += f", in bunches, so that {self.bunching:.1f} of them say as much as one"
        if self.decision is Decision.NOT_HELD:
            text += f", a p{self.percent:g} of {limit} would have about {self.sent * (1 - self.percent / 100):,.0f}"
        else:
            text += f", at most {self.allowed:,} may be" if self.allowed >= 0 else ", which is too few requests to say"
        if self.decision is Decision.UNDECIDED and self.needed > self.sent:
            text += f"; {self.needed:,} requests, none of the further ones over, would show it"
        return text


@dataclass(frozen=True)
class Verdict:
    """What is said of an objective at one load.

    Attributes:
        decision: What is said.
        confidence: See `LatencyObjective.confidence`.
        limits: For each limit of the objective, in its order.
        reasons: Why it is not held or undecided, beside the limits: failures, or the generator.
    """

    decision: Decision
    confidence: float
    limits: tuple[LimitVerdict, ...]
    reasons: tuple[str, ...]

    @property
    def text(self) -> str:
        """Why, in a few words."""
        shown = {
            Decision.HELD: tuple(Decision),
            Decision.NOT_HELD: (Decision.NOT_HELD,),
            Decision.UNDECIDED: (Decision.NOT_HELD, Decision.UNDECIDED),
        }[self.decision]
        return "; ".join([*self.reasons, *(limit.text for limit in self.limits if limit.decision in shown)])


def is_decided(counts: LatencyCounts, objective: LatencyObjective) -> bool:
    """Return whether a load may end at a look, with these counts of the requests before it."""
    if counts.failed:
        return True
    limits = _judge_limits(counts, objective, _risks_at_look(counts, objective), is_end=False)
    decisions = {limit.decision for limit in limits}
    is_refuted = any(limit.decision is Decision.NOT_HELD and not limit.blames_generator for limit in limits)
    return is_refuted or decisions == {Decision.HELD}


def judge(result: LoadResult, objective: LatencyObjective) -> Verdict:
    """Judge one load.

    No failure is allowed. Otherwise a server could meet any limit by refusing slow requests. What may be due to the
    generator, which sent late or was busy, is not held against the server: then the verdict is undecided. A lag of the
    generator never makes latencies look shorter, so that "held" stays.

    Args:
        result: The load's result; of repeated runs, the sum.
        objective: The objective that it has to meet.
    """
    if result.look is not None:
        limits = _judge_limits(result.look, objective, _risks_at_look(result.look, objective), is_end=False)
    else:
        risks = risks_at_end(1 - objective.confidence, has_looks=result.load.has_looks)
        limits = _judge_limits(result.statistics.counts, objective, risks, is_end=True)
    errors = result.statistics.errors
    failures = [f"{count:,} x {status}" for status, count in errors.items()]
    generator = explain_generator_limit(result)

    def verdict(decision: Decision, *reasons: str) -> Verdict:
        return Verdict(decision, objective.confidence, tuple(limits), reasons)

    if not result.statistics.sent:
        return verdict(Decision.UNDECIDED, "nothing was sent")
    if any(status not in GENERATOR_FAILURES for status in errors):
        return verdict(Decision.NOT_HELD, *failures)
    refuted = [limit for limit in limits if limit.decision is Decision.NOT_HELD]
    if failures or refuted:
        if generator is not None:
            return verdict(Decision.UNDECIDED, *failures, generator)
        if failures or not all(limit.blames_generator for limit in refuted):
            return verdict(Decision.NOT_HELD, *failures)
        return verdict(Decision.UNDECIDED, "the generator sent late: counted from the actual sends, it may hold")
    if all(limit.decision is Decision.HELD for limit in limits):
        return verdict(Decision.HELD)
    return verdict(Decision.UNDECIDED)


def _risks_at_look(counts: LatencyCounts, objective: LatencyObjective) -> Risks:
    is_holding = len(counts.sent) >= HOLDING_LOOK * SLICES
    return risks_at_look(1 - objective.confidence, is_holding=is_holding)


def _judge_limits(
    counts: LatencyCounts, objective: LatencyObjective, risks: Risks, *, is_end: bool
) -> list[LimitVerdict]:
    """Judge each limit.

    "Held" needs all limits, each with the whole risk: if one of them is not within its limit, its own test finds so.
    "Not held" needs one of them, so that they share the risk.
    """
    sent = int(counts.sent.sum())
    found = []
    for index, (percent, limit) in enumerate(objective.limits):
        row, from_send = counts.over[index], counts.over_from_send[index]
        over, bunching = int(row.sum()), counts.bunching(row)
        shared = replace(risks, not_held=risks.not_held / len(objective.limits))
        if percent == 100:
            decision = Decision.NOT_HELD if over else Decision.HELD if is_end and sent else Decision.UNDECIDED
            allowed, needed = 0, 0
        else:
            decision = _decide(counts, row, percent, shared)
            # At a look that decides "not held", "held" may have no risk; then these are those of the end.
            risk = risks.held or risks_at_end(1 - objective.confidence, has_looks=True).held
            allowed = math.floor(most_over(int(sent / bunching), percent, risk) * bunching)
            needed = math.ceil((fewest_passed(math.ceil(over / bunching), percent, risk) + over / bunching) * bunching)
        is_refuted_from_send = (
            bool(from_send.any())
            if percent == 100
            else _decide(counts, from_send, percent, shared) is Decision.NOT_HELD
        )
        blames = decision is Decision.NOT_HELD and not is_refuted_from_send
        found.append(LimitVerdict(percent, limit, decision, sent, over, allowed, needed, bunching, blames))
    return found


def _decide(counts: LatencyCounts, over: npt.NDArray[np.int64], percent: float, risks: Risks) -> Decision:
    """Decide one limit below p100, of which `over` (slices,) int64 requests were over; both roundings are cautious."""
    bunching = counts.bunching(over)
    exceeded, total = over.sum() / bunching, counts.sent.sum() / bunching
    if holds(math.ceil(exceeded), math.floor(total), percent, risks.held):
        return Decision.HELD
    if exceeds(math.floor(exceeded), math.ceil(total), percent, risks.not_held):
        return Decision.NOT_HELD
    return Decision.UNDECIDED
