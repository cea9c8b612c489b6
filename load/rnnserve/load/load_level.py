"""A load level, and the objective that it must meet."""

import argparse
import re
from dataclasses import dataclass

from rnnserve.load.confidence import CONFIDENCE
from rnnserve.load.units import format_rate, parse_duration

__all__ = ["LatencyLimit", "LatencyObjective", "LoadLevel", "parse_objective"]

_LIMIT = re.compile(r"p(?P<percent>[0-9]{1,2}(\.[0-9]+)?|100)=(?P<duration>.+)")


@dataclass(frozen=True)
class LatencyLimit:
    """An upper limit, in nanoseconds, for a percentile of the latency."""

    percent: float
    nanoseconds: int

    @property
    def allowed(self) -> float:
        """Share of the requests that may exceed the limit, from 0 to 1."""
        return round(1 - self.percent / 100, 12)


@dataclass(frozen=True)
class LatencyObjective:
    """A service level objective: its limits, its text from the command line, and the confidence of its verdict."""

    text: str
    limits: tuple[LatencyLimit, ...]
    confidence: float = CONFIDENCE


@dataclass(frozen=True)
class LoadLevel:
    """One level of load: a rate, requests in flight, or sessions, for all generators together. Times are in seconds."""

    rate: float = 0.0  # requests per second of an open loop
    closed: int = 0  # requests in flight
    sessions: int = 0
    think: float = 0.0  # from an answer to the next step of a session
    arrivals: str = "poisson"
    warmup: float = 1.0  # time at the same load before the measurement
    duration: float = 10.0
    max_requests: int = 1_000_000  # number of measured requests that ends the level
    timeout: float = 5.0
    ends_early: bool = False  # whether to stop as soon as the level can no longer meet the objective

    @property
    def size(self) -> float:
        """The number that differs between levels: requests per second, requests in flight, or sessions."""
        return self.sessions or self.closed or self.rate

    @property
    def is_closed(self) -> bool:
        """Whether a request is sent only after an earlier one was answered."""
        return bool(self.closed or self.sessions)

    @property
    def unit(self) -> str:
        """The unit of `size`."""
        return "sessions" if self.sessions else "in flight" if self.closed else "requests/s"

    @property
    def text(self) -> str:
        """The level as text: "1,000 requests/s", "16 in flight", "1 session"."""
        return "1 session" if self.sessions == 1 else f"{format_rate(self.size)} {self.unit}"


def parse_objective(text: str, confidence: float = CONFIDENCE) -> LatencyObjective:
    """Parse one limit, `p99=5ms`, or several: `p50=1ms,p99.9=20ms`."""
    limits = []
    for part in text.split(","):
        match = _LIMIT.fullmatch(part.strip())
        if match is None:
            raise argparse.ArgumentTypeError(
                f"{part!r} is not an objective; expected percentiles with their limits, such as p50=1ms,p99=5ms"
            )
        limits.append(LatencyLimit(float(match["percent"]), parse_duration(match["duration"])))
    return LatencyObjective(text, tuple(limits), confidence)
