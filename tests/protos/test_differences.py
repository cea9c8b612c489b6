"""The largest difference of two arrays, and by how much limits grow."""

import numpy as np
import pytest

from rnnserve.protos.differences import Difference, largest_difference


def test_largest_difference_has_its_position():
    expected = np.zeros((2, 3))
    found = np.array([[0, 0.5, 0], [0, 0, -2]], dtype=np.float32)
    assert largest_difference(found, expected) == Difference((1, 2), -2.0, 0.0, 2.0)


def test_difference_is_computed_in_float64():
    found, expected = np.array([16777216], np.float32), np.array([1], np.float32)
    assert largest_difference(found, expected).distance == 16777215
    exact = np.array([1 + 1e-12])
    assert largest_difference(np.ones(1, np.float32), exact).distance == pytest.approx(1e-12, rel=1e-3)


@pytest.mark.parametrize("side", ["found", "expected", "both"])
def test_nan_counts_as_an_infinite_difference(side):
    plain, nan = np.array([[5.0, 1e30]]), np.array([[np.nan, 0.0]])
    found, expected = {"found": (nan, plain), "expected": (plain, nan), "both": (nan, nan)}[side]
    difference = largest_difference(found, expected)
    assert difference.index == (0, 0)
    assert difference.distance == np.inf
    assert np.isnan(difference.found) == (side != "expected")
