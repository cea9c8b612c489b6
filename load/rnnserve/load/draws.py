"""Random draws of a load test before it starts: sizes, the order of requests, and the times to send them.

Sizes and models are drawn in fixed proportions, as in MLPerf LoadGen. With independent draws, one run would happen to
get more long sequences than another, and their latencies would differ for this reason.
"""

import argparse
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rnnserve.client.commands.argument_types import parse_number

__all__ = [
    "ARRIVALS",
    "EvenSizes",
    "SizeDistribution",
    "draw_evenly",
    "draw_rounds",
    "draw_schedule",
    "parse_size_distribution",
    "parse_weight",
]

ARRIVALS = ("poisson", "constant")

_BLOCK = 256
_EXPECTED = "expected a size (16), a range (1:64), or sizes with weights (4=3,64=1)"


@dataclass(frozen=True)
class SizeDistribution:
    """Sizes of at least 1 with their probabilities, and the user's text."""

    text: str
    sizes: tuple[int, ...]
    probabilities: tuple[float, ...]


class EvenSizes:
    """Draws sizes in fixed proportions: among every 256 sizes, each appears as often as its probability requires."""

    def __init__(self, distribution: SizeDistribution) -> None:
        self._distribution = distribution
        self._left = np.empty(0, np.int64)

    def draw(self, random: np.random.Generator, count: int) -> npt.NDArray[np.int64]:
        """Draw sizes, (count,) int64."""
        sizes = np.array(self._distribution.sizes, np.int64)
        while len(self._left) < count:
            block = sizes[draw_evenly(self._distribution.probabilities, _BLOCK, random)]
            self._left = np.concatenate([self._left, block])
        drawn, self._left = self._left[:count], self._left[count:]
        return drawn


def draw_evenly(probabilities: npt.ArrayLike, count: int, random: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw indices, (count,) int64, in random order. Each appears in proportion to its probability, rounded up or down.

    This is systematic sampling: equally spaced points between 0 and 1 select indices by the cumulative probabilities.
    """
    sums = np.cumsum(probabilities)  # (choices,)
    places = (np.arange(count) + random.random()) / count * sums[-1]  # (count,)
    return random.permutation(np.searchsorted(sums[:-1], places, side="right").astype(np.int64))


def draw_rounds(items: int, fewest: int, random: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return whole rounds with at least `fewest` indices. Each round contains every item once, in a new order."""
    return np.concatenate([random.permutation(items) for _ in range(-(-fewest // items))])


def draw_schedule(
    arrivals: str, rate: float, seconds: float, *, random: np.random.Generator, part: int = 0, parts: int = 1
) -> npt.NDArray[np.int64]:
    """Return the intended send times of one generator. `parts` generators together produce the rate.

    Poisson arrivals resemble independent users, and the sum of several Poisson schedules is again one. Constant
    arrivals are equally spaced, and the generators take turns.

    Returns:
        (requests,) int64, nanoseconds from the start, ascending, each below `seconds`.
    """
    end, mean = seconds * 1e9, 1e9 / rate
    if arrivals == "constant":
        times = np.arange(part, int(np.ceil(rate * seconds)) + 1, parts) * mean  # (requests,)
        return times[times < end].astype(np.int64)
    mean *= parts
    count = end / mean
    # Five standard deviations above the expected count are too few for one schedule in a million. The loop adds more.
    times = np.cumsum(random.exponential(mean, int(count + 5 * count**0.5 + 5)))
    while times[-1] < end:
        times = np.append(times, times[-1] + np.cumsum(random.exponential(mean, 1000)))
    return times[times < end].astype(np.int64)


def parse_size_distribution(text: str) -> SizeDistribution:
    """Parse a distribution.

    `16` is always 16. `1:64` is uniform from 1 to 64, both included. `4=3,16=1` draws 4 three times as often as 16. A
    size without a weight has weight 1.
    """
    low, separator, high = text.partition(":")
    if separator:
        first, last = _parse_size(low, text), _parse_size(high, text)
        if first > last:
            raise argparse.ArgumentTypeError(f"{text!r} is a range that ends before it starts; {_EXPECTED}")
        return SizeDistribution(text, tuple(range(first, last + 1)), (1 / (last - first + 1),) * (last - first + 1))
    parts = [parse_weight(part) for part in text.split(",")]
    total = sum(weight for _, weight in parts)
    sizes = tuple(_parse_size(size, text) for size, _ in parts)
    return SizeDistribution(text, sizes, tuple(weight / total for _, weight in parts))


def parse_weight(text: str) -> tuple[str, float]:
    """Parse `NAME` or `NAME=WEIGHT`. The default weight is 1."""
    name, separator, weight = (part.strip() for part in text.partition("="))
    value = parse_number(weight) if separator else 1.0
    if not name or not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME or NAME=WEIGHT with a weight above 0")
    return name, value


def _parse_size(part: str, text: str) -> int:
    part = part.strip()
    if not (part.isascii() and part.isdigit() and 1 <= int(part) <= 1_000_000):
        raise argparse.ArgumentTypeError(f"{text!r} contains {part!r}, but sizes are 1 to 1,000,000; {_EXPECTED}")
    return int(part)
