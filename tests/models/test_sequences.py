"""The tutorial's sequences and longer walks."""

# ruff: noqa: NPY002 (the tutorial draws from NumPy's global generator)

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnserve.models import DataError, generate_sequences, generate_walks
from rnnserve.models.sequences import CORNERS


def tutorial_generate_sequences(n=128, variable_len=False, seed=13):
    """The tutorial's function, verbatim."""
    basic_corners = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]])
    np.random.seed(seed)
    bases = np.random.randint(4, size=n)
    if variable_len:  # noqa: SIM108
        lengths = np.random.randint(3, size=n) + 2
    else:
        lengths = [4] * n
    directions = np.random.randint(2, size=n)
    points = [basic_corners[[(b + i) % 4 for i in range(4)]][slice(None, None, d*2-1)][:l] + np.random.randn(l, 2) * 0.1 for b, d, l in zip(bases, directions, lengths)]  # fmt: skip # noqa: B905, E501, E741
    return points, directions


@pytest.mark.parametrize("variable_len", [False, True])
@pytest.mark.parametrize("n", [1, 128, 300])
@pytest.mark.parametrize("seed", [13, 0, 2**32 - 1])
def test_tutorials_sequences_are_reproduced_exactly(n, variable_len, seed):
    points, directions = generate_sequences(n, variable_len, seed)
    expected_points, expected_directions = tutorial_generate_sequences(n, variable_len, seed)
    assert len(points) == n
    for found, expected in zip(points, expected_points, strict=True):
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, expected)
    assert directions.dtype == np.int64
    np.testing.assert_array_equal(directions, expected_directions)


def test_numpys_global_generator_is_unchanged():
    np.random.seed(5)
    expected = np.random.randn()
    np.random.seed(5)
    generate_sequences()
    generate_walks(3, seed=0)
    assert np.random.randn() == expected


@given(
    n=st.integers(1, 20),
    shortest=st.integers(1, 70),
    more=st.integers(0, 300),
    size=st.floats(0.01, 100),
    seed=st.integers(0, 2**40),
)
def test_walks_visit_neighboring_corners_in_their_direction(n, shortest, more, size, seed):
    points, directions = generate_walks(
        n, min_length=shortest, max_length=shortest + more, noise=0.05, size=size, seed=seed
    )
    assert len(points) == len(directions) == n
    assert directions.dtype == np.int64
    for walk, direction in zip(points, directions, strict=True):
        assert walk.dtype == np.float32
        assert shortest <= len(walk) <= shortest + more
        nearest = np.linalg.norm(walk[:, None] / size - CORNERS, axis=2).argmin(axis=1)  # (length,)
        assert set((nearest[1:] - nearest[:-1]) % 4) <= {1 if direction == 1 else 3}
        # Clockwise: the cross product of a point and the next one is negative.
        x, y = walk[:-1].T.astype(np.float64)
        u, v = walk[1:].T.astype(np.float64)
        assert ((x * v - y * u < 0) == (direction == 1)).all()


def test_walks_repeat_by_seed_and_cover_all_lengths_and_both_directions():
    points, directions = generate_walks(2000, seed=4)
    again, directions_again = generate_walks(2000, seed=4)
    other, _ = generate_walks(2000, seed=5)
    assert all(np.array_equal(a, b) for a, b in zip(points, again, strict=True))
    assert np.array_equal(directions, directions_again)
    assert not np.array_equal(points[0], other[0])
    assert {len(walk) for walk in points} == set(range(2, 65))
    assert 0.45 < directions.mean() < 0.55


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n must be 1 or more, got 0"),
        ({"min_length": 0}, "min_length is 0 and max_length is 64"),
        (
            {"min_length": 9, "max_length": 8},
            "min_length is 9 and max_length is 8; expected 1 <= min_length <= max_length",
        ),
        ({"noise": -0.1}, "noise is -0.1"),
        ({"noise": float("nan")}, "noise is nan"),
        ({"size": 0.0}, "noise is 0.1 and size is 0.0"),
    ],
)
def test_invalid_walks_are_refused(arguments, message):
    with pytest.raises(DataError, match=message):
        generate_walks(**{"n": 3, "seed": 0, **arguments})


def test_zero_sequences_are_refused():
    with pytest.raises(DataError, match="n must be 1 or more, got 0"):
        generate_sequences(0)
