"""Walks round the corners of a square: the tutorial's, and longer ones of any length."""

import numpy as np
from numpy.typing import NDArray

from rnnserve.models.errors import DataError

__all__ = ["CORNERS", "generate_sequences", "generate_walks"]

# (corner, axis): in clockwise order, as the tutorial writes them.
CORNERS = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]])


def generate_sequences(
    n: int = 128, variable_len: bool = False, seed: int = 13
) -> tuple[list[NDArray[np.float64]], NDArray[np.int64]]:
    """Draw the tutorial's sequences, to the last digit, without touching NumPy's global generator.

    Args:
        n: how many.
        variable_len: lengths of 2 to 4 points instead of 4.
        seed: of NumPy's legacy generator; 13 gives the points that the tutorial prints.

    Returns:
        points: n arrays (length, 2) float64.
        directions: (n,) int64: 1 clockwise, 0 counter-clockwise.

    Raises:
        DataError: n is below 1.
    """
    if n < 1:
        raise DataError(f"n is {n}; there must be 1 sequence or more")
    # np.random.seed's own generator: the tutorial's numbers come from no other.
    random = np.random.RandomState(seed)
    bases = random.randint(4, size=n)
    lengths = random.randint(3, size=n) + 2 if variable_len else np.full(n, 4)
    directions = random.randint(2, size=n).astype(np.int64)
    points = [
        CORNERS[(base + np.arange(4)) % 4][:: 2 * direction - 1][:length] + random.randn(length, 2) * 0.1
        for base, direction, length in zip(bases, directions, lengths, strict=True)
    ]
    return points, directions


def generate_walks(
    n: int, *, min_length: int = 2, max_length: int = 64, noise: float = 0.1, size: float = 1.0, seed: int
) -> tuple[list[NDArray[np.float32]], NDArray[np.int64]]:
    """Draw walks that may go round the square many times.

    Args:
        n: how many.
        min_length: the fewest points of a walk; below 2 a walk has no direction.
        max_length: the most points of a walk; lengths are uniform between the two.
        noise: standard deviation of each coordinate round its corner, for a square of size 1; it grows with the size.
        size: half the side of the square, which is centred on the origin; the tutorial's is 1.
        seed: of a generator of its own; the same arguments draw the same walks.

    Returns:
        points: n arrays (length, 2) float32.
        directions: (n,) int64: 1 clockwise, 0 counter-clockwise.

    Raises:
        DataError: n or min_length below 1, max_length below min_length, a negative noise, a size of 0 or less.
    """
    if n < 1:
        raise DataError(f"n is {n}; there must be 1 walk or more")
    if not 1 <= min_length <= max_length:
        raise DataError(f"lengths of {min_length} to {max_length} points; expected 1 <= min_length <= max_length")
    if not noise >= 0 or not size > 0:
        raise DataError(f"noise {noise} and size {size}; expected noise 0 or more and size above 0")
    random = np.random.default_rng(seed)
    lengths = random.integers(min_length, max_length, size=n, endpoint=True)
    directions = random.integers(2, size=n)
    starts = random.integers(4, size=n)
    points = []
    for length, direction, start in zip(lengths, directions, starts, strict=True):
        corners = CORNERS[(start + (2 * direction - 1) * np.arange(length)) % 4]
        walk = size * (corners + noise * random.standard_normal((length, 2)))
        points.append(walk.astype(np.float32))
    return points, directions
