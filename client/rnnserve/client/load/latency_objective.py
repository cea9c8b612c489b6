"""A service level objective: upper limits for percentiles of the latency."""

import re
from dataclasses import dataclass

from rnnserve.client.errors import InvalidRequest
from rnnserve.client.load.load_level import LoadResult
from rnnserve.client.load.units import format_duration, parse_duration

__all__ = ["LatencyObjective", "parse_objective"]

_LIMIT = re.compile(r"p(?P<percent>[0-9]{1,2}(\.[0-9]+)?|100)=(?P<duration>.+)")


@dataclass(frozen=True)
class LatencyObjective:
    """Percentiles of the latency, each with its upper limit.

    Attributes:
        text: The objective as the user wrote it.
        limits: (percent, nanoseconds) for each percentile.
    """

    text: str
    limits: tuple[tuple[float, int], ...]

    def violations(self, result: LoadResult) -> list[str]:
        """Return the reasons why a result does not meet the objective; an empty list if it does.

        No error is allowed. Otherwise a server could meet any latency limit by refusing slow requests.
        """
        statistics = result.statistics
        reasons = []
        for percent, limit in self.limits:
            found = statistics.latency.percentile(percent)
            if found > limit:
                reasons.append(f"p{percent:g} was {format_duration(found)}, over {format_duration(limit)}")
        reasons += [f"{count:,} x {status}" for status, count in statistics.errors.items()]
        return reasons if statistics.sent else ["nothing was sent"]


def parse_objective(text: str) -> LatencyObjective:
    """Parse an objective.

    Args:
        text: One limit, `"p99=5ms"`, or several: `"p50=1ms,p99.9=20ms"`.

    Raises:
        InvalidRequest: `text` has another form.
    """
    limits = []
    for part in text.split(","):
        match = _LIMIT.fullmatch(part.strip())
        if match is None:
            raise InvalidRequest(f"{part!r} is no objective. Expected percentiles with their limits: p50=1ms,p99=5ms")
        limits.append((float(match["percent"]), parse_duration(match["duration"])))
    return LatencyObjective(text, tuple(limits))
