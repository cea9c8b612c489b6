"""Walks round the corners of a square, whose direction is known: what our classifiers are asked about.

The same walks as those that the classifiers were trained on, made without the code that trained them, so that a label
is checked by a second opinion.
"""

import numpy as np
import numpy.typing as npt

__all__ = ["LABELS", "UNKNOWN", "walk_batch"]

LABELS = ("counter-clockwise", "clockwise")
"""By class; a model with these and two features is one of ours."""

UNKNOWN = -1
"""In place of a class: one point goes in no direction."""

_CORNERS = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]])  # clockwise
_NOISE = 0.1


def walk_batch(
    lengths: npt.NDArray[np.int64], random: np.random.Generator
) -> tuple[list[npt.NDArray[np.float32]], npt.NDArray[np.int64]]:
    """Draw walks of given lengths.

    Args:
        lengths: (batch,), each 1 or more.
        random: Draws starts, directions and noise.

    Returns:
        walks: Each (length, features=2) float32.
        classes: (batch,) int64, indices into `LABELS`, `UNKNOWN` for walks of one point.
    """
    directions = random.integers(2, size=len(lengths))
    starts = random.integers(4, size=len(lengths))
    walks = []
    for length, direction, start in zip(lengths.tolist(), directions.tolist(), starts.tolist(), strict=True):
        corners = _CORNERS[(start + (2 * direction - 1) * np.arange(length)) % 4]
        walks.append((corners + _NOISE * random.standard_normal((length, 2))).astype(np.float32))
    return walks, np.where(lengths >= 2, directions, UNKNOWN)
