"""Finite numbers are told from others, whatever their bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rnnserve.server.boundary.values import all_finite, are_finite


@given(arrays(np.uint32, st.integers(0, 9)))
def test_finite_bytes_are_finite_numbers(bits):
    """Any bit pattern: NaNs of every kind, infinities, subnormals, the largest numbers."""
    numbers = bits.view(np.float32)
    assert are_finite(numbers.tobytes()) == bool(np.isfinite(numbers).all())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 1.8e38, 1e-45])
@pytest.mark.parametrize("size", [1, 63, 64, 65, 1000])
def test_one_number_among_many(value, size):
    numbers = np.ones(size, np.float32)
    numbers[size // 2] = value
    assert are_finite(numbers.tobytes()) == all_finite(numbers) == bool(np.isfinite(value))
