"""Limits of parity and of manifests, and values so near to eager that float64 cannot change the judgment."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnserve.export.parity.tolerances import LIMITS, limits_for, replay_limits
from rnnserve.export.parity.value_comparison import DistanceRow
from rnnserve.protos.differences import scale

ULP = 2.0**-23
FIELDS = ("step_state", "step_logits", "walk_logits", "sequence_rms_factor", "sequence_rms_floor", "sequence_largest")


def recorded(**found):
    return {
        at.device: pytest.approx([getattr(at, field) for field in FIELDS], rel=1e-6) for at in replay_limits(**found)
    }


def test_limits_of_narrow_layers_come_from_the_table():
    expected = {
        "cpu": [32 * ULP, 32 * ULP, 4e-6, 4, 4 * ULP, 4e-6],
        "cuda": [64 * ULP, 64 * ULP, 8e-6, 8, 8 * ULP, 8e-6],
    }
    assert expected == recorded()
    assert expected == recorded(step=7.9 * ULP, sequence=0.9e-6)
    assert expected.keys() == LIMITS.keys()
    assert all(math.isfinite(limit) and limit > 0 for limits in expected.values() for limit in limits)


def test_limits_are_four_times_the_measured_rounding():
    assert recorded(step=16 * ULP)["cpu"] == [64 * ULP, 64 * ULP, 4e-6, 4, 4 * ULP, 4e-6]
    assert recorded(sequence=3e-6)["cuda"] == [64 * ULP, 64 * ULP, 8e-6, 8, 24 * ULP, 24e-6]


NEAR = dataclasses.replace(limits_for("cpu"), sequence_rms_floor=1e-3)


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1e-4, 1e-3, 1e-2]),
    st.sampled_from([1.0, 40.0, 1e4]),
    st.sampled_from([0.0, 1e-3, 1e-1, 10.0, 1e5]),
    st.booleans(),
)
def test_values_near_eager_pass_for_any_float64_result(seed, moved, size, error, masked):
    random = np.random.default_rng(seed)
    eager = (size * random.standard_normal((3, 4))).astype(np.float32)
    found = (eager + moved * max(1.0, size / 32) * random.standard_normal(eager.shape)).astype(np.float32)
    mask = random.random(eager.shape) < 0.7 if masked else None
    row = DistanceRow()
    row.found_eager.add(found, eager, mask)
    if row.is_near(NEAR, scale(eager if mask is None else np.where(mask, eager, 0))):
        exact = eager - error * np.sign(found - eager) * random.random(eager.shape)  # on the other side of eager
        row.measure(found, eager, exact.astype(np.float64), mask)
        assert row.failure(NEAR) is None


@pytest.mark.parametrize(
    ("change", "largest", "is_near"),
    [(0.99e-3, 1, True), (1.01e-3, 1, False), (3.9e-3, 8, True), (4.1e-3, 8, False)],
)
def test_values_are_near_eager_within_the_floor(change, largest, is_near):
    row = DistanceRow()
    row.found_eager.add(np.full(2, change), np.zeros(2))
    assert row.is_near(NEAR, largest) == is_near
