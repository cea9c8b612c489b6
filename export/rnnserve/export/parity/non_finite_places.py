"""Comparing NaN and infinity by their places: what is served is not finite exactly where eager is not."""

from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.protos.differences import equally_non_finite

__all__ = ["differing_places", "without_non_finite"]

_Array = npt.NDArray[Any]


def differing_places(found: _Array, eager: _Array, mask: npt.NDArray[np.bool_] | None, where: object) -> str:
    """Compare places and signs.

    In a step in which a guarded recurrence gives NaN, all its values are NaN, also the few that eager computes from
    other gates; so a row and step that holds one in eager may hold more.

    Args:
        found: Array that is judged, any shape with the values of a row and step on the last axis.
        eager: Eager's values, of the same shape.
        mask: Values that count, broadcast to that shape; None for all.
        where: Batch that was run.

    Returns:
        What differs, in words; empty where nothing does.
    """
    wrong: npt.NDArray[np.bool_] = np.isfinite(found) != np.isfinite(eager)
    with np.errstate(invalid="ignore"):
        wrong |= ~np.isfinite(eager) & ~equally_non_finite(found, eager)
    is_nan = np.asarray(np.isnan(eager))
    beside = np.asarray(is_nan.any(axis=-1, keepdims=True)) if eager.ndim > 1 else is_nan
    wrong = wrong & ~(beside & np.isnan(found))
    if mask is not None:
        wrong = wrong & mask
    if not wrong.any():
        return ""
    at = tuple(int(i) for i in np.argwhere(wrong)[0])
    return f"at {list(at)} of {where} is {found[at]:.9g} where eager gives {eager[at]:.9g}"


def without_non_finite(
    mask: npt.NDArray[np.bool_] | None, *arrays: _Array
) -> tuple[npt.NDArray[np.bool_] | None, list[_Array]]:
    """Leave out the values that are not finite in one of the arrays.

    Args:
        mask: Values that count, broadcast to the shape of the arrays; None for all.
        arrays: Arrays of one shape.

    Returns:
        The mask without them, and the arrays with zeros in their places; as they were where all values are finite.
    """
    if all(array.dtype.kind != "f" or bool(np.isfinite(array).all()) for array in arrays):
        return mask, list(arrays)
    finite = np.logical_and.reduce([np.isfinite(array) for array in arrays])
    return finite if mask is None else finite & mask, [
        np.where(finite, array, 0).astype(array.dtype) for array in arrays
    ]
