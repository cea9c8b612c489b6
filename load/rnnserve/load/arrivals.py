"""When an open loop sends: a schedule drawn before the load starts, which the server cannot influence."""

import numpy as np
import numpy.typing as npt

__all__ = ["ARRIVALS", "draw_schedule"]

ARRIVALS = ("poisson", "gamma", "constant")


def draw_schedule(
    arrivals: str,
    rate: float,
    seconds: float,
    *,
    random: np.random.Generator,
    part: int = 0,
    parts: int = 1,
    gap_cv: float = 1.0,
) -> npt.NDArray[np.int64]:
    """Return the intended send times of one of several generators that produce a rate together.

    Args:
        arrivals: `"poisson"`, like independent users (exponential gaps; the sum of such schedules is a Poisson
            schedule too); `"gamma"`, bursts and pauses (gamma-distributed gaps; the generators take turns); or
            `"constant"`, one request per tick (the generators take turns).
        rate: Requests per second of all generators together.
        seconds: Duration.
        random: Source of the gaps; of Poisson arrivals another one for each generator, of gamma arrivals equal ones.
        part: Index of this generator, from 0.
        parts: Number of generators.
        gap_cv: Standard deviation of gamma-distributed gaps divided by their mean: 1 as for Poisson arrivals, more for
            bursts.

    Returns:
        (requests,) int64, nanoseconds from the start, ascending, each below `seconds`.
    """
    end, mean = seconds * 1e9, 1e9 / rate
    if arrivals == "constant":
        ticks = np.arange(part, int(np.ceil(rate * seconds)) + 1, parts)  # (requests,)
        times = ticks * mean
    elif arrivals == "gamma":
        # Of all generators: the sum of several schedules of gamma gaps has other gaps than each of them.
        times = _draw_times(random, mean, gap_cv, end)[part::parts]
    else:
        times = _draw_times(random, parts * mean, 1.0, end)
    return times[times < end].astype(np.int64)


def _draw_times(random: np.random.Generator, mean: float, cv: float, end: float) -> npt.NDArray[np.float64]:
    """Draw times, (requests,) nanoseconds, up to `end` or later; `mean` and `cv` are those of their gaps."""
    shape = cv**-2

    def draw_gaps(count: int) -> npt.NDArray[np.float64]:
        return random.exponential(mean, count) if cv == 1 else random.gamma(shape, mean / shape, count)

    # Five standard deviations more than expected: too few for about one schedule in a million, which the loop ends.
    count = end / mean
    times: npt.NDArray[np.float64] = np.cumsum(draw_gaps(int(count + 5 * max(1.0, cv) * count**0.5 + 5)))
    while times[-1] < end:
        times = np.append(times, times[-1] + np.cumsum(draw_gaps(1000)))
    return times
