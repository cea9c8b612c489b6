"""How far two arrays lie apart, value by value, and how a limit grows with the size of the values."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Difference", "coarseness", "distances", "equally_non_finite", "largest_difference", "scale"]

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Difference:
    """The largest difference between two arrays.

    Attributes:
        index: The index of the value, a number for each axis.
        found: The value in the tested array.
        expected: The value in the reference array.
        distance: The absolute difference, or infinity if either value is NaN.
    """

    index: tuple[int, ...]
    found: float
    expected: float
    distance: float


def largest_difference(found: Array, expected: Array) -> Difference:
    """Find the largest difference between two non-empty arrays of one shape, in float64. The first counts."""
    with np.errstate(invalid="ignore"):  # infinity less infinity is NaN
        distance = np.abs(found.astype(np.float64) - expected)
    # NaN must not pass for a small distance.
    distance = np.where(np.isnan(distance), np.inf, distance)
    worst = np.unravel_index(int(np.argmax(distance)), distance.shape)
    index = tuple(int(position) for position in worst)
    return Difference(index, float(found[index]), float(expected[index]), float(distance[index]))


def distances(found: Array, expected: Array) -> Array:
    """Return absolute differences in float64: 0 for equal infinities or two NaN, inf if only one is finite."""
    with np.errstate(invalid="ignore"):
        distance: Array = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    if np.isfinite(distance).all():
        return distance
    return np.where(equally_non_finite(found, expected), 0, np.nan_to_num(distance, nan=np.inf, posinf=np.inf))


def scale(expected: Array) -> float:
    """Return the factor by which a limit grows for large values.

    It is 1 up to values of 16, at which float32's steps are 1.9e-6. Beyond, it is the largest finite value over 16.
    """
    sizes = np.abs(expected.astype(np.float64))
    return max(1.0, float(sizes.max(initial=0.0, where=np.isfinite(sizes))) / 16)


def equally_non_finite(found: Array, expected: Array) -> npt.NDArray[np.bool_]:
    """Return where two float arrays of one shape both hold NaN, or infinity of the same sign."""
    either: npt.NDArray[np.bool_] = (np.isnan(found) & np.isnan(expected)) | (np.isinf(found) & (found == expected))
    return either


def coarseness(dtype: np.dtype[Any]) -> float:
    """Return the factor by which a limit grows for a float dtype coarser than float32, or else 1."""
    return max(1.0, float(np.finfo(dtype).eps / np.finfo(np.float32).eps))
