"""A service level objective: upper limits for percentiles of the latency, and how sure its verdict must be."""

import re
from dataclasses import dataclass

from rnnserve.client import InvalidRequest
from rnnserve.load.units import parse_duration

__all__ = ["CONFIDENCE", "LatencyObjective", "parse_objective"]

CONFIDENCE = 0.99
"""The confidence of MLPerf LoadGen."""

_LIMIT = re.compile(r"p(?P<percent>[0-9]{1,2}(\.[0-9]+)?|100)=(?P<duration>.+)")


@dataclass(frozen=True)
class LatencyObjective:
    """Percentiles of the latency, each with its upper limit.

    Attributes:
        text: The objective as the user wrote it.
        limits: (percent, nanoseconds) for each percentile.
        confidence: Probability with which a verdict of one load is right, if the percentile is not within its limit
            ("held") or is within it ("not held"); above 0.5, below 1.
    """

    text: str
    limits: tuple[tuple[float, int], ...]
    confidence: float = CONFIDENCE

    @property
    def durations(self) -> tuple[int, ...]:
        """The limits, nanoseconds."""
        return tuple(limit for _, limit in self.limits)


def parse_objective(text: str, confidence: float = CONFIDENCE) -> LatencyObjective:
    """Parse an objective.

    Args:
        text: One limit, `"p99=5ms"`, or several: `"p50=1ms,p99.9=20ms"`.
        confidence: Confidence of the verdict; see `LatencyObjective`.

    Raises:
        InvalidRequest: `text` has another form.
    """
    limits = []
    for part in text.split(","):
        match = _LIMIT.fullmatch(part.strip())
        if match is None:
            raise InvalidRequest(f"{part!r} is no objective. Expected percentiles with their limits: p50=1ms,p99=5ms")
        limits.append((float(match["percent"]), parse_duration(match["duration"])))
    return LatencyObjective(text, tuple(limits), confidence)
