import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rnnserve.client import InvalidRequest
from rnnserve.client.tensors import cast_losslessly

INTEGERS = ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"]
EDGES = sorted(
    {sign * 2**power + offset for power in (0, 7, 8, 24, 31, 53, 63) for offset in (-1, 0, 1) for sign in (1, -1)}
)


def cast(value, to):
    return cast_losslessly(np.asarray(value), np.dtype(to), "x")


@given(st.sampled_from(EDGES), st.sampled_from(INTEGERS), st.sampled_from([*INTEGERS, "f2", "f4", "f8", "?"]))
@example(-(2**31), "i4", "f2")  # as a float it is -infinity, which as an integer is the smallest again
@example(2**63 - 1, "i8", "f8")
def test_integer_keeps_its_value_or_is_refused(value, kind, to):
    limits = np.iinfo(kind)
    value = min(max(value, int(limits.min)), int(limits.max))
    array = np.array([value], kind)
    with np.errstate(over="ignore"):
        kept = _holds(value, np.dtype(to))
    if kept:
        found = cast(array, to)
        assert (found.dtype, int(found[0])) == (np.dtype(to), value)
    else:
        with pytest.raises(
            InvalidRequest, match=re.escape(f"x is {value} at [0], but the model takes {np.dtype(to).name}")
        ):
            cast(array, to)


def _holds(value, dtype):
    if dtype.kind == "b":
        return value in (0, 1)
    if dtype.kind in "iu":
        return np.iinfo(dtype).min <= value <= np.iinfo(dtype).max
    as_float = float(dtype.type(value))
    return np.isfinite(as_float) and int(as_float) == value


@given(st.floats(), st.sampled_from([*INTEGERS, "?"]))
@example(2.0**63, "i8")
@example(2.0**63, "u8")
@example(-1.0, "u1")
def test_float_becomes_the_same_integer_or_is_refused(value, to):
    if np.isfinite(value) and value == int(value) and _holds(int(value), np.dtype(to)):
        assert cast([1.0, value], to).tolist() == [1, int(value)]
    else:
        with pytest.raises(InvalidRequest, match="cannot represent"):
            cast([1.0, value], to)


def test_floats_are_rounded_unless_they_become_infinite():
    assert cast([0.1], "f4").tolist() == [float(np.float32(0.1))]
    assert np.isnan(cast([np.nan], "f4")).all()
    assert np.isinf(cast([np.inf], "f2")).all()
    with pytest.raises(InvalidRequest, match=re.escape("x is 1e+300 at [1, 0], but the model takes float32")):
        cast([[0.0], [1e300]], "f4")
