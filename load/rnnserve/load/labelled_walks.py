"""Walks around the corners of a square whose direction is known: the inputs for direction classifiers.

The walks follow the distribution of the training data, but this code is independent of the code that trained the
classifiers. A label is therefore checked against a second implementation.
"""

import numpy as np
import numpy.typing as npt

__all__ = ["UNKNOWN_CLASS", "WALK_LABELS", "draw_labelled_walks"]

WALK_LABELS = ("counter-clockwise", "clockwise")
"""Labels by class; a model with these labels and two features is a direction classifier."""

UNKNOWN_CLASS = -1
"""Used in place of a class for walks of one point, which have no direction."""

_CORNERS = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]])  # (corner, features=2), clockwise
_NOISE = 0.1


def draw_labelled_walks(
    lengths: npt.NDArray[np.int64], random: np.random.Generator
) -> tuple[list[npt.NDArray[np.float32]], npt.NDArray[np.int64]]:
    """Draw walks of given lengths.

    Args:
        lengths: (batch,) int64, points per walk, each at least 1.
        random: Source of starts, directions and noise.

    Returns:
        walks: One (length, features=2) float32 array per walk.
        classes: (batch,) int64, indices into `WALK_LABELS`, `UNKNOWN_CLASS` for walks of one point.
    """
    directions = random.integers(2, size=len(lengths))  # (batch,)
    starts = random.integers(4, size=len(lengths))  # (batch,)
    walks = []
    for length, direction, start in zip(lengths.tolist(), directions.tolist(), starts.tolist(), strict=True):
        corners = _CORNERS[(start + (2 * direction - 1) * np.arange(length)) % 4]  # (length, 2)
        walks.append((corners + _NOISE * random.standard_normal((length, 2))).astype(np.float32))
    return walks, np.where(lengths >= 2, directions, UNKNOWN_CLASS)
