"""How many servers a target takes: what one carries, found between measured rates, and the arithmetic of N + 1.

What one server carries is the highest rate that holds the objective, or a rate between that and the next one measured,
where a straight line between their percentiles meets the limit. Latency grows ever faster with the rate, so the curve
lies below the line, and what is found lies below the rate that the server would hold. Above the highest measured rate
nothing is said.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rnnserve.client import InvalidRequest
from rnnserve.load.latency_objective import LatencyObjective
from rnnserve.load.load_test import LoadTest
from rnnserve.load.units import format_duration, format_rate
from rnnserve.load.verdict import Decision

__all__ = ["Capacity", "MeasuredRate", "Resources", "Sizing", "find_capacity", "resources_of", "size_line"]

_SPARE_SHARE = 1.25
"""How much more is asked for than was measured: the rate of real requests varies by the hour and by the second."""

_CPU_STEP, _MEMORY_STEP = 0.1, 64 << 20
_LINE_TIMES = 5
"""The line after a load sizes for the next round rate that is so many times what one server carries."""


@dataclass(frozen=True)
class MeasuredRate:
    """What a load test says of one rate of an open loop.

    Attributes:
        rate: Requests per second.
        decision: Verdict on the objective at this rate.
        percentiles: Latency at each percentile of the objective, nanoseconds.
        failed: Requests that failed.
    """

    rate: float
    decision: Decision
    percentiles: tuple[float, ...]
    failed: int = 0


@dataclass(frozen=True)
class Capacity:
    """The rate at which the measured servers hold an objective.

    Attributes:
        rate: Requests per second.
        below: Highest measured rate that holds it.
        above: Next higher measured rate; None if none is, and the servers may carry more.
    """

    rate: float
    below: MeasuredRate
    above: MeasuredRate | None

    @property
    def is_interpolated(self) -> bool:
        """Whether the rate lies between two that were measured."""
        return self.rate > self.below.rate


@dataclass(frozen=True)
class Sizing:
    """How many servers carry a target.

    Attributes:
        target: Requests per second that all servers carry together.
        each: Requests per second that one server carries.
        spare: Servers that may be away while the others carry the target.
    """

    target: float
    each: float
    spare: int = 1

    @property
    def carrying(self) -> int:
        """Number of servers without the spare ones."""
        return max(1, math.ceil(self.target / self.each - 1e-9))

    @property
    def servers(self) -> int:
        """Number of all servers."""
        return self.carrying + self.spare


@dataclass(frozen=True)
class Resources:
    """What one server asks of the machine that runs it.

    Attributes:
        cores: Cores that it uses at the rate that it carries, as measured.
        memory: Bytes that it has had, at most, as measured after each load.
        cpu_request: Cores to ask for.
        memory_request: Bytes to ask for.
        memory_limit: Bytes at which it may be ended.
    """

    cores: float
    memory: int
    cpu_request: float
    memory_request: int
    memory_limit: int


def find_capacity(measured: Iterable[MeasuredRate], objective: LatencyObjective) -> Capacity:
    """Find the rate that holds an objective, within what was measured.

    Raises:
        InvalidRequest: No rate holds it.
    """
    rates = sorted(measured, key=lambda one: one.rate)
    held = [one for one in rates if one.decision is Decision.HELD]
    if not held:
        lowest = rates[0]
        found = ", ".join(
            f"p{percent:g} {format_duration(value)}"
            for (percent, _), value in zip(objective.limits, lowest.percentiles, strict=True)
        )
        undecided = any(one.decision is Decision.UNDECIDED for one in rates)
        raise InvalidRequest(
            f"none of its {len(rates)} rates holds {objective.text}; the lowest, {format_rate(lowest.rate)}/s, is "
            f"{lowest.decision} ({found}): measure {'longer, with --duration' if undecided else 'lower rates'}"
        )
    below = held[-1]
    above = next((one for one in rates if one.rate > below.rate), None)
    return Capacity(_rate_between(below, above, objective), below, above)


def _rate_between(below: MeasuredRate, above: MeasuredRate | None, objective: LatencyObjective) -> float:
    """Return the rate at which the first of the limits is met by a straight line; the lower rate if none is."""
    if above is None or above.failed:
        return below.rate
    crossings = [
        below.rate + (limit - low) / (high - low) * (above.rate - below.rate)
        for (_, limit), low, high in zip(objective.limits, below.percentiles, above.percentiles, strict=True)
        if low <= limit < high
    ]
    return min(crossings, default=below.rate)


def resources_of(capacity: Capacity, servers: int, cores: float, memory: int) -> Resources:
    """Return what one server asks for.

    Args:
        capacity: Rate that the measured servers carry together.
        servers: Number of measured servers.
        cores: Number of cores that all of them used at `capacity.below`.
        memory: Bytes that all of them had.
    """
    # Processor time grows with the requests: of twice as many, twice as much.
    used = cores / servers * capacity.rate / capacity.below.rate
    of_one = math.ceil(memory / servers)
    return Resources(
        used,
        of_one,
        round(_CPU_STEP * math.ceil(_SPARE_SHARE * used / _CPU_STEP - 1e-9), 1),
        _rounded_up(_SPARE_SHARE * of_one),
        _rounded_up(2 * _SPARE_SHARE * of_one),
    )


def size_line(test: LoadTest) -> str | None:
    """Return a line on how many servers a larger rate takes; None if no rate of an open loop holds an objective."""
    objective = test.objective
    rates = [] if objective is None else _measured_rates(test, objective)
    if objective is None or not any(one.decision is Decision.HELD for one in rates):
        return None
    capacity = find_capacity(rates, objective)
    target = _round_rate(_LINE_TIMES * capacity.rate)
    sizing = Sizing(target, capacity.rate)
    at_least = "" if capacity.above is not None else " at least"
    return (
        f"sizing: this holds{at_least} {format_rate(capacity.rate)}/s at {objective.text.replace('=', ' ')}: "
        f"{format_rate(target)}/s need {sizing.carrying} + {sizing.spare} (rnnserve size, from --json)"
    )


def _measured_rates(test: LoadTest, objective: LatencyObjective) -> Sequence[MeasuredRate]:
    found = []
    for result in test.pooled:
        verdict = test.verdict(result)
        if result.load.rate and verdict is not None:
            latency = result.statistics.latency
            percentiles = tuple(latency.percentile(percent) for percent, _ in objective.limits)
            found.append(MeasuredRate(result.load.rate, verdict.decision, percentiles, result.statistics.failed))
    return found


def _round_rate(least: float) -> float:
    """Return the smallest of 1, 2, 5, 10, 20, 50 … that is not below a rate."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)


def _rounded_up(size: float) -> int:
    return _MEMORY_STEP * math.ceil(size / _MEMORY_STEP)
