import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rnnserve.client import InvalidRequest
from rnnserve.client.casting import cast_losslessly

INTEGERS = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]
EDGES = sorted(
    {sign * 2**power + offset for power in (0, 7, 8, 24, 31, 53, 63) for offset in (-1, 0, 1) for sign in (1, -1)}
)


@given(st.sampled_from(EDGES), st.sampled_from(INTEGERS), st.sampled_from([*INTEGERS, "f2", "f4", "f8", "?"]))
@example(-(2**31), "i4", "f2")  # as a float it is -infinity, which as an integer is the smallest again
def test_an_integer_keeps_its_value_or_is_refused(value, kind, to):
    limits = np.iinfo(kind)
    value = min(max(value, int(limits.min)), int(limits.max))
    array = np.array([value], kind)
    with np.errstate(over="ignore"):
        kept = _holds(value, to)
    if kept:
        found = cast_losslessly(array, np.dtype(to), "x")
        assert (found.dtype, int(found[0])) == (np.dtype(to), value)
    else:
        with pytest.raises(InvalidRequest, match=re.escape(f"x is {value} at [0], which {np.dtype(to).name} cannot")):
            cast_losslessly(array, np.dtype(to), "x")


def _holds(value, to):
    dtype = np.dtype(to)
    if dtype.kind == "b":
        return value in (0, 1)
    if dtype.kind in "iu":
        return np.iinfo(dtype).min <= value <= np.iinfo(dtype).max
    as_float = float(dtype.type(value))
    return np.isfinite(as_float) and int(as_float) == value


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf, -np.inf, 1e300, 2.0**63, -1.0])
@pytest.mark.parametrize("to", ["u1", "u8", "?"])
def test_floats_that_are_no_such_integers_are_refused(value, to):
    if to == "u8" and value == 2.0**63:
        assert cast_losslessly(np.array([value]), np.dtype(to), "x").tolist() == [2**63]
        return
    with pytest.raises(InvalidRequest, match="cannot hold"):
        cast_losslessly(np.array([1.0, value]), np.dtype(to), "x")


def test_the_largest_int64_is_not_one_more():
    with pytest.raises(InvalidRequest, match="cannot hold"):
        cast_losslessly(np.array(2.0**63), np.dtype("i8"), "x")


def test_whole_floats_are_integers_and_floats_are_rounded():
    assert cast_losslessly(np.array([3.0, -2.0]), np.dtype("i4"), "x").tolist() == [3, -2]
    assert cast_losslessly(np.array([0.1]), np.dtype("f4"), "x").tolist() == [float(np.float32(0.1))]
    assert np.isnan(cast_losslessly(np.array([np.nan]), np.dtype("f4"), "x")).all()
    assert np.isinf(cast_losslessly(np.array([np.inf]), np.dtype("f2"), "x")).all()
    with pytest.raises(InvalidRequest, match=re.escape("x is 1e+300 at [1, 0], which float32 cannot hold")):
        cast_losslessly(np.array([[0.0], [1e300]]), np.dtype("f4"), "x")


@pytest.mark.parametrize(
    ("array", "lesson"),
    [
        (np.array(["a"]), "x has dtype <U1. Expected real numbers"),
        (np.array([1j]), "x has dtype complex128"),
        (np.array([None]), "x is an array of objects, shape (1,)"),
    ],
)
def test_only_numbers_are_cast(array, lesson):
    with pytest.raises(InvalidRequest, match=re.escape(lesson)):
        cast_losslessly(array, np.dtype("f4"), "x")
