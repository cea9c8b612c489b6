"""The largest difference of two arrays, and by how much limits grow."""

import numpy as np
import pytest

from rnnserve.protos.differences import Difference, largest_difference, scale


def test_where_and_how_large():
    expected = np.zeros((2, 3))
    found = np.array([[0, 0.5, 0], [0, 0, -2]], dtype=np.float32)
    assert largest_difference(found, expected) == Difference((1, 2), -2.0, 0.0, 2.0)


def test_arrays_that_are_equal_are_no_distance_apart():
    array = np.array([1.5, -0.0, np.finfo(np.float32).max], dtype=np.float32)
    assert largest_difference(array, array).distance == 0
    assert largest_difference(array, array).index == (0,)


def test_the_difference_is_computed_in_float64():
    found, expected = np.array([16777216], np.float32), np.array([1], np.float32)
    assert largest_difference(found, expected).distance == 16777215
    exact = np.array([1 + 1e-12])
    assert largest_difference(np.ones(1, np.float32), exact).distance == pytest.approx(1e-12, rel=1e-3)


@pytest.mark.parametrize("side", ["found", "expected", "both"])
def test_nan_is_further_than_anything(side):
    plain, nan = np.array([[5.0, 1e30]]), np.array([[np.nan, 0.0]])
    found, expected = {"found": (nan, plain), "expected": (plain, nan), "both": (nan, nan)}[side]
    difference = largest_difference(found, expected)
    assert difference.index == (0, 0)
    assert difference.distance == np.inf
    assert np.isnan(difference.found) == (side != "expected")


@pytest.mark.parametrize(
    ("values", "factor"), [([0.0], 1), ([1, -16], 1), ([16.5], 16.5 / 16), ([3, -32], 2), ([[1], [160]], 10)]
)
def test_a_limit_grows_beyond_16(values, factor):
    assert scale(np.array(values, dtype=np.float32)) == factor
