"""Largest and root mean square differences over batches, and how parity judges them."""

import dataclasses

import numpy as np
import pytest

from rnnserve.export.parity.tolerances import limits_for
from rnnserve.export.parity.value_comparison import DistanceRow, Distances, Spread

LIMITS = dataclasses.replace(limits_for("cpu"), sequence_rms_factor=3.0, sequence_rms_floor=1e-3)


def add(row, found, eager, exact, mask=None):
    row.found_eager.add(found, eager, mask)
    row.measure(found, eager, exact, mask)


@pytest.mark.parametrize(
    ("found", "eager", "scale", "passes"),
    [
        (0.0309, 0.01, 1.0, True),
        (0.0311, 0.01, 1.0, False),
        (0.0319, 0.01, 2.0, True),  # the floor grows with the scale
        (0.0321, 0.01, 2.0, False),
        (0.0009, 0.0, 1.0, True),
        (0.0011, 0.0, 1.0, False),
        (np.nan, 0.01, 1.0, False),
    ],
)
def test_distance_from_float64_is_judged_by_the_distance_of_eager(found, eager, scale, passes):
    row = DistanceRow(scale=scale)
    row.found_exact.add(np.array([found]), np.zeros(1))
    row.eager_exact.add(np.array([eager]), np.zeros(1))
    failure = row.failure(LIMITS)
    assert (failure is None) == passes
    if failure is not None:
        assert f"eager by {eager:.3g}: {3 * eager + 1e-3 * scale:.3g} allowed" in failure


def test_amplified_rounding_is_named_with_its_length():
    distances = Distances()
    exact = np.zeros((1, 2))
    for kind, name, length, distance in [
        ("random", "y", 8, 0.009),
        ("loud", "y", 33, 0.02),
        ("loud", "y", 40, 0.5),
        ("loud", "h", 33, 0.011),
    ]:
        add(distances.row(kind, name, length), found=exact, eager=exact + distance, exact=exact)
    add(distances.row("large", "y", 8), found=exact, eager=exact + 1.5, exact=exact + 1600)
    distances.rows["large", "y", 8].eager_exact = Spread(largest=0.9)  # of values of 1,600
    assert distances.amplified() == [
        'loud: rounding alone moves "y" of the module itself by 0.5 within 40 steps',
        'loud: rounding alone moves "h" of the module itself by 0.011 within 33 steps',
    ]


def test_long_sums_of_large_values_are_judged_by_the_largest_value():
    exact = np.full((1, 4), 640.0)
    for kind, passes in [("louder", False), ("long and loud", True)]:
        distances = Distances()
        add(distances.row(kind, "y", 1000), found=exact + LIMITS.sequence_rms_floor * 639, eager=exact, exact=exact)
        row = distances.rows[kind, "y", 1000]
        assert (row.failure(LIMITS) is None) == passes
        add(distances.row(kind, "y", 1000), found=exact + LIMITS.sequence_rms_floor * 700, eager=exact, exact=exact)
        assert row.failure(LIMITS) is not None
