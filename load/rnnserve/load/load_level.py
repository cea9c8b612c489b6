"""What a load test measures: one load level, and the result of running it."""

from collections.abc import Sequence
from dataclasses import dataclass

from rnnserve.load.latency_counts import LatencyCounts
from rnnserve.load.latency_objective import LatencyObjective
from rnnserve.load.load_statistics import LoadStatistics
from rnnserve.load.units import format_rate

__all__ = ["LoadLevel", "LoadResult", "Measurement"]


@dataclass(frozen=True)
class LoadLevel:
    """One level of load, produced by all generators together.

    Attributes:
        rate: Requests per second of an open loop; 0 for a closed loop.
        closed: Requests in flight of a closed loop; 0 for an open loop, and for sessions.
        sessions: Number of sessions, each of which sends its next step after the answer to the last one; 0 for none.
        think: Seconds between an answer and the next step of a session.
        arrivals: "poisson", "gamma" or "constant"; used by an open loop only.
        gap_cv: Coefficient of variation of the gaps of gamma arrivals.
        warmup: Seconds at the same load before the measurement starts.
        duration: Seconds that are measured.
        max_requests: Largest number of measured requests; a level that would send more is cut short.
        timeout: Seconds that one request may take.
        objective: What requests are counted for; None to measure only.
        has_looks: Whether the level may end before its duration, as soon as the objective is decided.
        scenario: Name of the scenario of which it is the load; empty for none.
    """

    rate: float = 0.0
    closed: int = 0
    sessions: int = 0
    think: float = 0.0
    arrivals: str = "poisson"
    gap_cv: float = 1.0
    warmup: float = 1.0
    duration: float = 10.0
    max_requests: int = 1_000_000
    timeout: float = 5.0
    objective: LatencyObjective | None = None
    has_looks: bool = False
    scenario: str = ""

    @property
    def size(self) -> float:
        """The number that differs between levels: requests per second, requests in flight, or sessions."""
        return self.sessions or self.closed or self.rate

    @property
    def is_closed(self) -> bool:
        """Whether requests wait for the answers to earlier ones."""
        return bool(self.closed or self.sessions)

    @property
    def text(self) -> str:
        """The level as text: "1,000 requests/s", "16 in flight", "1 session"."""
        if self.sessions:
            return "1 session" if self.sessions == 1 else f"{self.sessions:,} sessions"
        return f"{self.closed} in flight" if self.closed else f"{format_rate(self.rate)} requests/s"


@dataclass(frozen=True)
class Measurement:
    """What the generators measured of one level.

    Attributes:
        statistics: Sums over all generators.
        seconds: Measured time.
        look: The counts at the look that decided the objective and ended the level; None if it ended later.
    """

    statistics: LoadStatistics
    seconds: float
    look: LatencyCounts | None = None


@dataclass(frozen=True)
class LoadResult:
    """The result of one load level.

    Attributes:
        load: The level that was requested.
        statistics: Sums over all generators.
        seconds: Measured time.
        batches: Number of batches that the server ran, by batch size, warm-up included; None if the server does not
            report it.
        look: See `Measurement`.
        runs: The runs whose sum this is; empty if it is one run.
        server_cores: Cores that the server used; None where it is not known: only of one that `--serve` has started.
        server_memory: Bytes that the server had after the load; None likewise.
    """

    load: LoadLevel
    statistics: LoadStatistics
    seconds: float
    batches: dict[int, int] | None = None
    look: LatencyCounts | None = None
    runs: Sequence["LoadResult"] = ()
    server_cores: float | None = None
    server_memory: int | None = None

    @property
    def throughput(self) -> float:
        """Answers per second within the measured time."""
        return self.statistics.in_time / self.seconds if self.seconds else 0.0

    @property
    def jitter(self) -> int:
        """The p99 of the latency minus its p50, nanoseconds."""
        latency = self.statistics.latency
        return latency.percentile(99) - latency.percentile(50)

    @property
    def failures_per_second(self) -> float:
        """Failed requests per second of the measured time."""
        return self.statistics.failed / self.seconds if self.seconds else 0.0

    @property
    def faults_per_second(self) -> float:
        """Rows answered wrongly per second of the measured time."""
        return self.statistics.faults / self.seconds if self.seconds else 0.0

    @property
    def cut_short(self) -> bool:
        """Whether `max_requests` ended the measurement."""
        if self.runs:
            return any(run.cut_short for run in self.runs)
        return self.look is None and self.seconds < self.load.duration
