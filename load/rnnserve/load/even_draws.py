"""Draws in equal counts, as MLPerf LoadGen issues samples: every draw of a workload then has the same composition.

Independent draws would give one run more of the long sequences than another, and their latencies would differ by that.
"""

import numpy as np
import numpy.typing as npt

from rnnserve.load.size_distribution import SizeDistribution

__all__ = ["EvenSizes", "draw_evenly", "draw_rounds"]

_BLOCK = 256


def draw_evenly(probabilities: npt.ArrayLike, count: int, random: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw indices in random order, each as often as its probability says, rounded up or down.

    By systematic sampling: equally spaced places between 0 and 1, with a random first one, choose by the sums of the
    probabilities.

    Args:
        probabilities: (choices,) with the sum 1.
        count: Number of draws.
        random: Source of the first place, and of the order.

    Returns:
        (count,) int64, indices below the number of choices.
    """
    sums = np.cumsum(probabilities)  # (choices,)
    places = (np.arange(count) + random.random()) / count * sums[-1]  # (count,)
    return random.permutation(np.searchsorted(sums[:-1], places, side="right").astype(np.int64))


def draw_rounds(items: int, fewest: int, random: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return whole rounds, each of which has every item once, in an order of its own.

    Args:
        items: Number of items, 1 or more.
        fewest: Least length of the result.
        random: Source of the orders.

    Returns:
        (rounds * items,) int64, indices below `items`.
    """
    return np.concatenate([random.permutation(items) for _ in range(-(-fewest // items))])


class EvenSizes:
    """Draws sizes of a distribution in equal counts: of every 256, each size as often as its probability says.

    Args:
        distribution: The sizes.
    """

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
