"""What a point says about the server, and whether it says anything about the server at all."""

import re
from dataclasses import dataclass

from rnnserve.client.errors import InvalidRequest
from rnnserve.client.load.plan import Point
from rnnserve.client.load.units import duration_text, parse_duration

__all__ = ["Objective", "generator_limit", "parse_objective"]

_LATE_NS = 1_000_000
_LATE_SHARE = 0.2
_BUSY = 0.9
_LIMIT = re.compile(r"p(?P<percent>[0-9]{1,2}(\.[0-9]+)?|100)=(?P<duration>.+)")


@dataclass(frozen=True)
class Objective:
    """A service level objective: percentiles of the latency and what they may be.

    Attributes:
        text: As it was written.
        limits: (percent, nanoseconds) of each.
    """

    text: str
    limits: tuple[tuple[float, int], ...]

    def broken(self, point: Point) -> list[str]:
        """Return why a point does not hold it: nothing where it does.

        No error is allowed: without that, a server would hold any latency by refusing what would take longer.
        """
        tally = point.tally
        reasons = []
        for percent, limit in self.limits:
            found = tally.latency.percentile(percent)
            if found > limit:
                reasons.append(f"p{percent:g} was {duration_text(found)}, over {duration_text(limit)}")
        reasons += [f"{count:,} x {status}" for status, count in tally.errors.items()]
        return reasons if tally.sent else ["nothing was sent"]


def parse_objective(text: str) -> Objective:
    """Read an objective.

    Args:
        text: `"p99=5ms"`, or several: `"p50=1ms,p99.9=20ms"`.

    Raises:
        InvalidRequest: Anything else.
    """
    limits = []
    for word in text.split(","):
        parts = _LIMIT.fullmatch(word.strip())
        if parts is None:
            raise InvalidRequest(
                f"{word!r} is no objective. Expected percentiles and what they may be: p50=1ms,p99=5ms"
            )
        limits.append((float(parts["percent"]), parse_duration(parts["duration"])))
    return Objective(text, tuple(limits))


def generator_limit(point: Point) -> str | None:
    """Return why the generator, not the server, set what was measured; None where it did not.

    Sends are late when a hundredth of them is late by more than a millisecond, and by more than a fifth of the p99 that
    was measured: below that, the figures hardly change.
    """
    tally = point.tally
    late, measured = tally.lag.percentile(99), tally.latency.percentile(99)
    busiest = max(tally.cpu, default=0.0)
    said = []
    if "NOT_SENT" in tally.errors:
        said.append(f"{tally.errors['NOT_SENT']:,} requests had run out of time before it could send them")
    if late > _LATE_NS and late > _LATE_SHARE * measured:
        said.append(f"sends were late by {duration_text(late)} (p99), which the latencies include")
    if busiest > _BUSY:
        said.append(f"a generator kept {busiest:.0%} of a core busy, as much as one can")
    if not said:
        return None
    cure = "more --processes help" if busiest > _BUSY else "something else kept the machine busy"
    return f"the generator, not the server, may be the limit: {'; '.join(said)}; {cure}"
