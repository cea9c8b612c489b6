"""Bytes are valid when each number in them is: finite, or within the bounds of its input, wherever it stands."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rnnserve.server.fast_path.templates import are_finite, validator
from rnnserve.server.validation.checking import all_finite
from rnnserve.server.validation.signature import TensorSpec

COUNTS = (1, 63, 64, 65, 1000)


@given(arrays(np.uint32, st.integers(0, 9)))
def test_bytes_are_finite_exactly_when_their_floats_are(bits):
    """Any bit pattern: NaNs of every kind, infinities, subnormals, the largest numbers."""
    numbers = bits.view(np.float32)
    assert are_finite(numbers.tobytes()) == bool(np.isfinite(numbers).all())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 1.8e38, 1e-45])
def test_one_non_finite_float_makes_a_tensor_invalid(value):
    for count in COUNTS:
        numbers = np.ones(count, np.float32)
        numbers[count // 2] = value
        assert are_finite(numbers.tobytes()) == all_finite(numbers) == bool(np.isfinite(value))


@pytest.mark.parametrize(("value", "valid"), [(3, True), (4999, True), (2, False), (5000, False)])
def test_one_integer_out_of_bounds_makes_a_tensor_invalid(value, valid):
    spec = TensorSpec("tokens", "INT64", ("batch", "sequence"), (-1, -1), low=3, high=5000)
    for count in COUNTS:
        numbers = np.full(count, 7)
        numbers[count // 2] = value
        assert validator(spec, allow_non_finite=False)(numbers.tobytes()) is valid
