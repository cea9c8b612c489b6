"""When an open loop sends: a schedule drawn before the load starts, which the server cannot influence."""

import numpy as np
import numpy.typing as npt

__all__ = ["ARRIVALS", "draw_schedule"]

ARRIVALS = ("poisson", "constant")


def draw_schedule(
    arrivals: str, rate: float, seconds: float, *, random: np.random.Generator, part: int = 0, parts: int = 1
) -> npt.NDArray[np.int64]:
    """Return the intended send times of one of several generators that produce a rate together.

    Args:
        arrivals: `"poisson"`, like independent users (exponential gaps; the sum of such schedules is a Poisson
            schedule too), or `"constant"`, one request per tick (the generators take turns).
        rate: Requests per second of all generators together.
        seconds: Duration.
        random: Draws the gaps of Poisson arrivals.
        part: Index of this generator, from 0.
        parts: Number of generators.

    Returns:
        (requests,) int64, nanoseconds from the start, ascending, each below `seconds`.
    """
    end = seconds * 1e9
    if arrivals == "constant":
        ticks = np.arange(part, int(np.ceil(rate * seconds)) + 1, parts)  # (requests,)
        times = ticks * (1e9 / rate)
    else:
        mean = parts * 1e9 / rate
        # Five standard deviations more than expected: too few for about one schedule in a million, which the loop ends.
        count = end / mean
        times = np.cumsum(random.exponential(mean, size=int(count + 5 * count**0.5 + 5)))  # (requests,)
        while times[-1] < end:
            times = np.append(times, times[-1] + np.cumsum(random.exponential(mean, size=1000)))
    return times[times < end].astype(np.int64)
