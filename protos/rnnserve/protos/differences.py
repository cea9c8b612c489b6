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
        index: Where, an index for each axis.
        found: The value there in the array that was judged.
        expected: The value there in the other array.
        distance: The absolute difference of the two; infinite where either is NaN.
    """

    index: tuple[int, ...]
    found: float
    expected: float
    distance: float


def largest_difference(found: Array, expected: Array) -> Difference:
    """Compare two arrays of one shape with at least one value, in float64; of equal differences the first counts."""
    with np.errstate(invalid="ignore"):  # infinity less infinity is NaN
        distance = np.abs(found.astype(np.float64) - expected)
    # NaN is no distance, and must not pass for a small one.
    distance = np.where(np.isnan(distance), np.inf, distance)
    worst = np.unravel_index(int(np.argmax(distance)), distance.shape)
    index = tuple(int(position) for position in worst)
    return Difference(index, float(found[index]), float(expected[index]), float(distance[index]))


def distances(found: Array, expected: Array) -> Array:
    """Give absolute differences in float64: 0 of the same infinity or of two NaN, infinite where only one is finite."""
    with np.errstate(invalid="ignore"):
        distance: Array = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    if np.isfinite(distance).all():
        return distance
    return np.where(equally_non_finite(found, expected), 0, np.nan_to_num(distance, nan=np.inf, posinf=np.inf))


def scale(expected: Array) -> float:
    """Give the factor by which a limit grows for large values.

    It is 1 while no value is beyond 16, where float32's steps are 1.9e-6 apart; then the largest finite value over 16.
    """
    sizes = np.abs(expected.astype(np.float64))
    return max(1.0, float(sizes.max(initial=0.0, where=np.isfinite(sizes))) / 16)


def equally_non_finite(found: Array, expected: Array) -> npt.NDArray[np.bool_]:
    """Tell where two arrays of floats, of one shape, both hold NaN, or infinity of the same sign."""
    either: npt.NDArray[np.bool_] = (np.isnan(found) & np.isnan(expected)) | (np.isinf(found) & (found == expected))
    return either


def coarseness(dtype: np.dtype[Any]) -> float:
    """Give the factor by which a limit grows for a float dtype whose steps are larger than float32's; else 1."""
    return max(1.0, float(np.finfo(dtype).eps / np.finfo(np.float32).eps))
