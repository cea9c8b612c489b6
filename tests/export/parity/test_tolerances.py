"""Limits of parity and of manifests, and values so near to eager that float64 cannot change the judgment."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnserve.export.parity.distances import Distances, Spread
from rnnserve.export.parity.near_eager import near_eager
from rnnserve.export.parity.tolerances import LIMITS, limits_for, replay_limits

ULP = 2.0**-23
FIELDS = ("step_state", "step_logits", "walk_logits", "sequence_rms_factor", "sequence_rms_floor", "sequence_largest")


def recorded(**found):
    return {
        at.device: pytest.approx([getattr(at, field) for field in FIELDS], rel=1e-6) for at in replay_limits(**found)
    }


def test_limits_of_narrow_layers_are_those_of_the_table():
    expected = {
        "cpu": [32 * ULP, 32 * ULP, 4e-6, 4, 4 * ULP, 4e-6],
        "cuda": [64 * ULP, 64 * ULP, 8e-6, 8, 8 * ULP, 8e-6],
    }
    assert expected == recorded()
    assert expected == recorded(step=7.9 * ULP, sequence=0.9e-6)
    assert expected.keys() == LIMITS.keys()
    assert all(math.isfinite(limit) and limit > 0 for limits in expected.values() for limit in limits)


def test_limits_are_four_times_what_rounding_was_found_to_do():
    assert recorded(step=16 * ULP)["cpu"] == [64 * ULP, 64 * ULP, 4e-6, 4, 4 * ULP, 4e-6]
    assert recorded(sequence=3e-6)["cuda"] == [64 * ULP, 64 * ULP, 8e-6, 8, 24 * ULP, 24e-6]


def test_device_without_limits_is_an_error():
    with pytest.raises(KeyError, match="tpu"):
        limits_for("tpu")


NEAR = dataclasses.replace(limits_for("cpu"), sequence_rms_floor=1e-3)


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1e-4, 1e-3, 1e-2]),
    st.sampled_from([1.0, 40.0, 1e4]),
    st.sampled_from([0.0, 1e-3, 1e-1, 10.0, 1e5]),
    st.booleans(),
)
def test_values_near_eager_pass_whatever_float64_gives(seed, moved, size, error, masked):
    random = np.random.default_rng(seed)
    eager = (size * random.standard_normal((3, 4))).astype(np.float32)
    found = (eager + moved * max(1.0, size / 32) * random.standard_normal(eager.shape)).astype(np.float32)
    mask = random.random(eager.shape) < 0.7 if masked else None
    passed = near_eager(NEAR, found, eager, mask)
    if passed is not None:
        assert passed == Spread.between(found, eager, mask)
        exact = eager - error * np.sign(found - eager) * random.random(eager.shape)  # on the other side of eager
        distances = Distances()
        distances.add("random", "x", 3, found=found, eager=eager, exact=exact.astype(np.float64), mask=mask)
        assert all(row.failure(NEAR) is None for row in distances.rows.values())


def test_values_are_near_eager_within_the_floor():
    eager = np.zeros((2, 2), np.float32)
    for change, is_near in [(0.99e-3, True), (1.01e-3, False), (np.nan, False), (np.inf, False)]:
        assert (near_eager(NEAR, eager + np.float32(change), eager, None) is not None) == is_near
    found, mask = np.array([[0, 9], [0, 0]], np.float32), np.array([[True, False], [True, True]])
    assert near_eager(NEAR, found, eager, mask) == Spread(count=3)
    assert near_eager(NEAR, np.array([1, 2]), np.array([1, 3]), None) is None  # integers are equal or not
