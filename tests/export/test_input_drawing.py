"""Drawn inputs of each kind of tensor: sizes, bounds, and the states with which rows begin."""

import numpy as np
import pytest

from rnnserve.export.description.publication import Axis, Flags, Floats, Integers, Lengths
from rnnserve.export.tensors import draw_inputs

SIZES = {"batch": 400, "sequence": 6}


def draw(described, *, is_state=False, **options):
    tensor = described.tensor("tensor", is_state=is_state)
    return draw_inputs([tensor], np.random.default_rng(1), SIZES, **options)["tensor"]


def draw_lengths(*, dtype="int64", seed=1, smallest=0, sizes=SIZES, **options):
    x = Floats("batch", "sequence").tensor("x")
    x.axes[1].smallest = smallest
    tensors = [Lengths(dtype=dtype).tensor("lengths"), x]
    return draw_inputs(tensors, np.random.default_rng(seed), sizes, **options)["lengths"]


def test_lengths_are_full_unless_rows_are_ragged():
    assert draw_lengths().tolist() == [6] * 400
    assert set(draw_lengths(ragged=True).tolist()) == {1, 2, 3, 4, 5, 6}
    assert set(draw_lengths(smallest=4, ragged=True).tolist()) == {4, 5, 6}
    assert [draw_lengths(dtype=dtype).dtype.name for dtype in ("int64", "int32")] == ["int64", "int32"]
    for seed in range(50):  # one ragged row is as long as the axis
        assert draw_lengths(seed=seed, sizes={"batch": 2, "sequence": 90}, ragged=True).max() == 90


@pytest.mark.parametrize(
    ("described", "lowest", "highest"),
    [
        (Integers("batch", "sequence", high=4), 0, 3),
        (Integers("batch", "sequence", low=-3, high=-1), -3, -2),
        (Integers("batch", "sequence", low=2, high=3, dtype="uint8"), 2, 2),
        (Flags("batch", "sequence"), 0, 1),
    ],
)
def test_integers_lie_within_their_bounds(described, lowest, highest):
    drawn = draw(described)
    assert (drawn.shape, drawn.dtype) == ((400, 6), described.dtype)
    assert (int(drawn.min()), int(drawn.max())) == (lowest, highest)


def test_floats_lie_within_their_bounds_or_are_normal():
    bounded, normal = draw(Floats("batch", "sequence", low=2.0, high=3.0)), draw(Floats("batch", "sequence"))
    assert 2 <= bounded.min() < 2.1
    assert 2.9 < bounded.max() < 3
    assert 0.95 < normal.std() < 1.05
    assert bounded.dtype == normal.dtype == np.float32


@pytest.mark.parametrize("at", [0, 1, 2])
def test_states_are_usual_zeros_small_or_large_by_row(at):
    axes: list[Axis] = [("layers", 20), ("hidden", 30)]
    axes.insert(at, "batch")
    drawn = np.moveaxis(draw(Floats(*axes), is_state=True), at, 0)
    assert drawn.shape == (400, 20, 30)
    np.testing.assert_allclose(drawn.reshape(100, 4, -1).std(axis=(0, 2)), [1.0, 0.0, 0.1, 2.0], rtol=0.02)
    bounded = draw(Floats(*axes), is_state=True, bounded_states=True)  # where tanh keeps them
    assert -1 <= bounded.min() < -0.99
    assert 0.99 < bounded.max() <= 1
