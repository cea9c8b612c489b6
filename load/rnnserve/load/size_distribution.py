"""Distributions of sizes, given as one argument of the command line: sequence lengths and batch sizes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rnnserve.client import InvalidRequest

__all__ = ["SizeDistribution", "parse_size_distribution", "parse_weights"]

_EXPECTED = "Expected one size (16), a range with both ends (1:64), or sizes with or without weights (4=3,16,64=0.5)"


@dataclass(frozen=True)
class SizeDistribution:
    """Sizes of at least 1, each with its probability.

    Attributes:
        text: The distribution as the user wrote it.
        sizes: The possible sizes.
        probabilities: The probability of each size; their sum is 1.
    """

    text: str
    sizes: tuple[int, ...]
    probabilities: tuple[float, ...]

    def draw(self, random: np.random.Generator, count: int) -> npt.NDArray[np.int64]:
        """Draw sizes, (count,) int64."""
        return random.choice(np.array(self.sizes, np.int64), size=count, p=self.probabilities)


def parse_size_distribution(text: str) -> SizeDistribution:
    """Parse a distribution.

    Args:
        text: `"16"` is always 16; `"1:64"` is uniform from 1 to 64, both included; `"4=3,16=1"` draws 4 three times as
            often as 16; a size without a weight has weight 1.

    Raises:
        InvalidRequest: `text` has another form, or a size is below 1.
    """
    low, separator, high = text.partition(":")
    if separator:
        first, last = _parse_size(low, text), _parse_size(high, text)
        if first > last:
            raise InvalidRequest(f"{text!r}: the range ends before it starts. {_EXPECTED}")
        sizes, weights = list(range(first, last + 1)), [1.0] * (last - first + 1)
    else:
        weight_of = parse_weights(text.split(","))
        sizes, weights = [_parse_size(name, text) for name in weight_of], list(weight_of.values())
    return SizeDistribution(text, tuple(sizes), tuple(weight / sum(weights) for weight in weights))


def parse_weights(arguments: list[str]) -> dict[str, float]:
    """Parse `NAME` or `NAME=WEIGHT`; the default weight is 1.

    Raises:
        InvalidRequest: A name is empty or repeated, or a weight is not a number above 0.
    """
    weights: dict[str, float] = {}
    for argument in arguments:
        name, separator, weight = argument.partition("=")
        name = name.strip()
        try:
            value = float(weight) if separator else 1.0
        except ValueError:
            value = 0.0
        if not name or not 0 < value < float("inf"):
            raise InvalidRequest(f"{argument!r}: expected NAME or NAME=WEIGHT, with a weight above 0")
        if name in weights:
            raise InvalidRequest(f"{argument!r}: {name} comes twice")
        weights[name] = value
    return weights


def _parse_size(part: str, text: str) -> int:
    part = part.strip()
    if not (part.isascii() and part.isdigit() and 1 <= int(part) <= 1_000_000):
        raise InvalidRequest(f"{text!r}: {part!r} is not a size from 1 to 1,000,000. {_EXPECTED}")
    return int(part)
