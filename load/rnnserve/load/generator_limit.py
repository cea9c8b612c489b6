"""Whether the generator, not the server, limited what was measured."""

from rnnserve.load.load_level import LoadResult
from rnnserve.load.load_statistics import LoadStatistics
from rnnserve.load.units import format_duration

__all__ = ["explain_generator_limit", "is_busy"]

_LATE_NS = 1_000_000
_LATE_FRACTION = 0.2
_BUSY_FRACTION = 0.9


def is_busy(statistics: LoadStatistics) -> bool:
    """Return whether a generator kept so much of its core busy that its sends and its measurements may be late."""
    return max(statistics.cpu, default=0.0) > _BUSY_FRACTION


def explain_generator_limit(result: LoadResult) -> str | None:
    """Return why the generator limited the measurement; None if it did not.

    Sends count as late if the p99 of the send lag is above 1 ms and above a fifth of the measured p99 latency. Below
    that, the lag hardly changes the figures.
    """
    statistics = result.statistics
    lag, latency = statistics.lag.percentile(99), statistics.latency.percentile(99)
    busiest = max(statistics.cpu, default=0.0)
    reasons = []
    if "NOT_SENT" in statistics.errors:
        reasons.append(f"{statistics.errors['NOT_SENT']:,} requests had timed out before it could send them")
    if lag > _LATE_NS and lag > _LATE_FRACTION * latency:
        reasons.append(f"sends were late by {format_duration(lag)} (p99), which the latencies include")
    if is_busy(statistics):
        reasons.append(f"a generator kept {busiest:.0%} of its core busy")
    if not reasons:
        return None
    remedy = "use more --processes" if is_busy(statistics) else "other programs kept the machine busy"
    return f"the generator, not the server, may be the limit: {'; '.join(reasons)}; {remedy}"
