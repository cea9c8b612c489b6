"""What is measured: one load, and what came of it."""

from dataclasses import dataclass

from rnnserve.client.load.samples import Tally
from rnnserve.client.load.units import rate_text

__all__ = ["Load", "Point"]


@dataclass(frozen=True)
class Load:
    """One load, made by all generators together.

    Attributes:
        rate: Requests a second, of an open loop; 0 for a closed one.
        closed: Requests in flight, of a closed loop; 0 for an open one.
        arrivals: Of an open loop, "poisson" or "constant".
        warmup: Seconds of the same load before anything counts.
        duration: Seconds that count.
        max_requests: That count; a load that would send more is cut short.
        timeout: Seconds that a request may take.
    """

    rate: float = 0.0
    closed: int = 0
    arrivals: str = "poisson"
    warmup: float = 1.0
    duration: float = 10.0
    max_requests: int = 1_000_000
    timeout: float = 5.0

    @property
    def size(self) -> float:
        """What is varied from load to load: the rate, or the requests in flight."""
        return self.closed or self.rate

    @property
    def text(self) -> str:
        """The load in words."""
        return f"{self.closed} in flight" if self.closed else f"{rate_text(self.rate)} requests/s"


@dataclass(frozen=True)
class Point:
    """What came of a load.

    Attributes:
        load: What was asked for.
        tally: Sums over all generators.
        seconds: How long was measured.
        batches: How often the server ran batches of each size meanwhile, the warm-up included; None where it does not
            tell.
    """

    load: Load
    tally: Tally
    seconds: float
    batches: dict[int, int] | None = None

    @property
    def throughput(self) -> float:
        """Answers a second within the measured time."""
        return self.tally.in_time / self.seconds if self.seconds else 0.0

    @property
    def cut_short(self) -> bool:
        """Whether `max_requests` ended it."""
        return self.seconds < self.load.duration
