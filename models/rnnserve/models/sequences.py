"""Walks around the corners of a square: the tutorial's sequences, and longer walks of any length."""

import numpy as np
from numpy.typing import NDArray

from rnnserve.models.errors import DataError

__all__ = ["CORNERS", "generate_sequences", "generate_walks"]

# (corners, features) int64: x and y of each corner in clockwise order, as listed in the tutorial.
CORNERS = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]])


def generate_sequences(
    n: int = 128, variable_len: bool = False, seed: int = 13
) -> tuple[list[NDArray[np.float64]], NDArray[np.int64]]:
    """Draw the tutorial's sequences, equal to the last digit, without using NumPy's global generator.

    Args:
        n: Number of sequences.
        variable_len: Whether lengths are 2 to 4 points instead of 4.
        seed: Seed of NumPy's legacy generator. Seed 13 draws the points that the tutorial prints.

    Returns:
        points: n arrays (length, features), features 2 (x and y), float64. The square's corners are at -1 and 1.
        directions: (n,) int64: 1 clockwise, 0 counter-clockwise.

    Raises:
        DataError: If n is below 1.
    """
    if n < 1:
        raise DataError(f"n must be 1 or more, got {n}")
    # RandomState is the generator behind np.random.seed. No other generator draws the tutorial's numbers.
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
    """Draw walks that may go around the square several times.

    Args:
        n: Number of walks.
        min_length: Minimum number of points of a walk. Walks of fewer than 2 points have no direction.
        max_length: Maximum number of points of a walk. Lengths are distributed uniformly between the two.
        noise: Standard deviation of each coordinate from its corner, relative to `size`.
        size: Half the side of the square, which is centered on the origin. The tutorial uses 1.
        seed: Seed of a separate generator. Equal arguments draw equal walks.

    Returns:
        points: n arrays (length, features), features 2 (x and y), float32. The corners are at -size and size.
        directions: (n,) int64: 1 clockwise, 0 counter-clockwise.

    Raises:
        DataError: If n or min_length is below 1, max_length below min_length, noise negative, or size 0 or less.
    """
    if n < 1:
        raise DataError(f"n must be 1 or more, got {n}")
    if not 1 <= min_length <= max_length:
        raise DataError(
            f"min_length is {min_length} and max_length is {max_length}; expected 1 <= min_length <= max_length"
        )
    if not noise >= 0 or not size > 0:
        raise DataError(f"noise is {noise} and size is {size}; expected noise of 0 or more and size above 0")
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
