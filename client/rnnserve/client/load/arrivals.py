"""When an open loop sends: a schedule drawn beforehand, which nothing that the server does can move."""

import numpy as np
import numpy.typing as npt

__all__ = ["ARRIVALS", "schedule"]

ARRIVALS = ("poisson", "constant")


def schedule(
    arrivals: str, rate: float, seconds: float, *, random: np.random.Generator, part: int = 0, parts: int = 1
) -> npt.NDArray[np.int64]:
    """Return intended send times of one of several generators that make a rate together.

    Args:
        arrivals: `"poisson"`, as independent users ask (exponential gaps; the sum of such schedules is one again), or
            `"constant"`, one at each tick (the generators take turns).
        rate: Requests a second of all generators.
        seconds: How long.
        random: Draws the gaps of Poisson arrivals.
        part: Which generator this is, from 0.
        parts: How many there are.

    Returns:
        (requests,) int64, nanoseconds from the start, ascending, each below `seconds`.
    """
    end = seconds * 1e9
    if arrivals == "constant":
        ticks = np.arange(part, int(np.ceil(rate * seconds)) + 1, parts)
        times = ticks * (1e9 / rate)
    else:
        mean = parts * 1e9 / rate
        # Enough at once but for one schedule in a million; what is missing then is drawn in the loop.
        count = end / mean
        times = np.cumsum(random.exponential(mean, size=int(count + 5 * count**0.5 + 5)))
        while times[-1] < end:
            times = np.append(times, times[-1] + np.cumsum(random.exponential(mean, size=1000)))
    return times[times < end].astype(np.int64)
