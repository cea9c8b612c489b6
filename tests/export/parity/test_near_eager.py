"""Where float64 cannot change what is judged: shown for values in float64 that are as bad as can be."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnserve.export.parity.distances import Distances, Spread
from rnnserve.export.parity.near_eager import near_eager
from rnnserve.export.parity.tolerances import limits_for

LIMITS = dataclasses.replace(limits_for("cpu"), sequence_rms_floor=1e-3)


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1e-4, 1e-3, 1e-2]),
    st.sampled_from([1.0, 40.0, 1e4]),
    st.sampled_from([0.0, 1e-3, 1e-1, 10.0, 1e5]),
    st.booleans(),
)
def test_what_is_near_eager_passes_whatever_float64_gives(seed, moved, size, error, masked):
    random = np.random.default_rng(seed)
    eager = (size * random.standard_normal((3, 4))).astype(np.float32)
    found = (eager + moved * max(1.0, size / 32) * random.standard_normal(eager.shape)).astype(np.float32)
    mask = random.random(eager.shape) < 0.7 if masked else None
    passed = near_eager(LIMITS, found, eager, mask)
    if passed is not None:
        assert passed == Spread.between(found, eager, mask)
        away = found - eager  # float64 on the other side of eager is the worst
        exact = eager - error * np.sign(away) * random.random(eager.shape)
        distances = Distances()
        distances.add("random", "x", 3, found=found, eager=eager, exact=exact.astype(np.float64), mask=mask)
        assert all(row.failure(LIMITS) is None for row in distances.rows.values())


@pytest.mark.parametrize(("change", "is_near"), [(0.99e-3, True), (1.01e-3, False), (np.nan, False), (np.inf, False)])
def test_the_floor(change, is_near):
    eager = np.zeros((2, 2), np.float32)
    assert (near_eager(LIMITS, eager + np.float32(change), eager, None) is not None) == is_near


def test_what_is_masked_does_not_count_and_other_dtypes_are_equal():
    eager, found = np.zeros((1, 2), np.float32), np.array([[0, 9]], np.float32)
    mask = np.array([[True, False]])
    assert near_eager(LIMITS, found, eager, mask) == Spread(count=1)
    assert near_eager(LIMITS, found, eager, ~mask) is None
    assert near_eager(LIMITS, np.array([1, 2]), np.array([1, 3]), mask[0]) == Spread()
    assert near_eager(LIMITS, np.array([1, 2]), np.array([1, 3]), None) is None


def test_a_factor_below_one_says_nothing():
    limits = dataclasses.replace(LIMITS, sequence_rms_factor=0.5)
    assert near_eager(limits, np.zeros(2, np.float32), np.zeros(2, np.float32), None) is None
