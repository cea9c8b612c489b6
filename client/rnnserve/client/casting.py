"""Cast a caller's numbers to a model's datatype. Numbers that the datatype cannot represent are refused."""

from typing import Any

import numpy as np
import numpy.typing as npt

from rnnserve.client.errors import InvalidRequest
from rnnserve.client.tensors import Array

__all__ = ["cast_losslessly", "check_numbers"]


def check_numbers(array: Array, what: str) -> None:
    """Raise InvalidRequest unless an array contains real numbers or booleans. `what` is its name in the error."""
    if array.dtype == object:
        raise InvalidRequest(
            f"{what} is an array of objects, shape {array.shape}: numpy creates such arrays from parts of different "
            "sizes. Expected numbers, and one size along each axis"
        )
    if array.dtype.kind not in "biuf":
        raise InvalidRequest(f"{what} has dtype {array.dtype}. Expected real numbers")


def cast_losslessly(array: Array, dtype: np.dtype[Any], what: str) -> Array:
    """Return an array of numbers in the model's dtype, with equal values. `what` is the array's name in errors.

    Only floats may be rounded, to floats of fewer digits: Python has no float32, so a list of floats could not be sent
    otherwise. Anything else that would change a value raises InvalidRequest: a fraction as an integer, a number outside
    the dtype's range, an integer that a float cannot represent, or a number other than 0 and 1 as a boolean.
    """
    check_numbers(array, what)
    # numpy considers integers to floats a safe cast, but float64 cannot represent every int64.
    is_rounded = array.dtype.kind in "iu" and dtype.kind == "f"
    if array.dtype == dtype or (not is_rounded and np.can_cast(array.dtype, dtype, "safe")):
        return array.astype(dtype, copy=False)
    with np.errstate(all="ignore"):  # the checks below find what these warnings would report
        cast = array.astype(dtype)
        if array.dtype.kind == "f" and dtype.kind == "f":
            changed = np.isfinite(array) & ~np.isfinite(cast)
        else:
            changed = ~_equal(array, cast)
    if changed.any():
        index = np.unravel_index(int(changed.argmax()), array.shape)
        place = f" at {[int(position) for position in index]}" if array.ndim else ""
        raise InvalidRequest(
            f"{what} is {array[index].item()!r}{place}, which {dtype.name} cannot hold: the model takes {dtype.name}"
        )
    return cast


def _equal(array: Array, cast: Array) -> npt.NDArray[np.bool_]:
    """Compare values exactly, even beyond the range in which floats represent every integer."""
    if {array.dtype.kind, cast.dtype.kind} <= set("iu"):
        return np.asarray((array == cast) & ((array < 0) == (cast < 0)))
    same = np.asarray(cast.astype(array.dtype) == array)
    # Some processors cast a float above the largest integer to that integer, and a float below the smallest, such as
    # -infinity, to the smallest. Cast back to a float, it would seem equal.
    for floats, integers in ((array, cast), (cast, array)):
        if floats.dtype.kind == "f" and integers.dtype.kind in "iu":
            limits, doubles = np.iinfo(integers.dtype), floats.astype(np.float64)
            same &= (doubles >= float(limits.min)) & (doubles < float(limits.max) + 1)
    return same
