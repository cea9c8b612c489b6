"""Sizes drawn from a distribution that fits into one word of a command line."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rnnserve.client.errors import InvalidRequest

__all__ = ["Distribution", "parse_distribution", "parse_weighted"]

_EXPECTED = "Expected one size (16), a range with both ends (1:64), or sizes with or without weights (4=3,16,64=0.5)"


@dataclass(frozen=True)
class Distribution:
    """Sizes of 1 or more, each with its probability.

    Attributes:
        text: As it was written.
        sizes: Those that can be drawn.
        probabilities: Of each; they add up to 1.
    """

    text: str
    sizes: tuple[int, ...]
    probabilities: tuple[float, ...]

    def draw(self, random: np.random.Generator, count: int) -> npt.NDArray[np.int64]:
        """Draw `count` sizes."""
        return random.choice(np.array(self.sizes, np.int64), size=count, p=self.probabilities)


def parse_distribution(text: str) -> Distribution:
    """Read a distribution.

    Args:
        text: `"16"` is always 16; `"1:64"` uniform from 1 to 64, both included; `"4=3,16=1"` 4 three times as often as
            16; a size without a weight has 1.

    Raises:
        InvalidRequest: Anything else, or a size below 1.
    """
    low, separator, high = text.partition(":")
    if separator:
        first, last = _size(low, text), _size(high, text)
        if first > last:
            raise InvalidRequest(f"{text!r}: the range ends before it starts. {_EXPECTED}")
        sizes, weights = list(range(first, last + 1)), [1.0] * (last - first + 1)
    else:
        named = parse_weighted(text.split(","))
        sizes, weights = [_size(name, text) for name in named], list(named.values())
    return Distribution(text, tuple(sizes), tuple(weight / sum(weights) for weight in weights))


def parse_weighted(words: list[str]) -> dict[str, float]:
    """Read `NAME` or `NAME=WEIGHT`, the weight being 1 where it is left out.

    Raises:
        InvalidRequest: An empty name, one that comes twice, or a weight that is no number above 0.
    """
    weights: dict[str, float] = {}
    for word in words:
        name, separator, weight = word.partition("=")
        name = name.strip()
        try:
            value = float(weight) if separator else 1.0
        except ValueError:
            value = 0.0
        if not name or not 0 < value < float("inf"):
            raise InvalidRequest(f"{word!r}: expected NAME or NAME=WEIGHT, with a weight above 0")
        if name in weights:
            raise InvalidRequest(f"{word!r}: {name} comes twice")
        weights[name] = value
    return weights


def _size(word: str, text: str) -> int:
    word = word.strip()
    if not (word.isascii() and word.isdigit() and 1 <= int(word) <= 1_000_000):
        raise InvalidRequest(f"{text!r}: {word!r} is no size from 1 to 1,000,000. {_EXPECTED}")
    return int(word)
