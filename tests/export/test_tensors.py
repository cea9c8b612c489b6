"""Tensors by name: rows, shapes and lengths whatever axis is the batch, and inputs drawn of each kind."""

import numpy as np
import pytest

from rnnserve.export.description.publication import Axis, Floats, Integers, Lengths
from rnnserve.export.tensors import (
    draw_inputs,
    stack_rows,
    take_row,
)

DESCRIBED = {
    "x": Floats("sequence", "batch", 2),
    "words": Integers("batch", "target", low=4, high=9),
    "numbers": Integers("batch", "target", low=-4, high=9),
    "lengths": Lengths("sequence"),
    "h_0": Floats(1, "batch", 2),
}
INPUTS = [described.tensor(name, is_state=name == "h_0") for name, described in DESCRIBED.items()]


def arrays(rows, sequence, target):
    """Every value of a row is the row's number, from 1."""
    numbers = np.arange(1, rows + 1)
    return {
        "x": np.broadcast_to(numbers[:, None].astype(np.float32), (sequence, rows, 2)),
        "words": np.broadcast_to(numbers[:, None] + 4, (rows, target)),
        "numbers": np.broadcast_to(numbers[:, None], (rows, target)),
        "lengths": np.minimum(numbers, sequence),
        "h_0": np.broadcast_to(numbers[:, None].astype(np.float32), (1, rows, 2)),
    }


def test_rows_are_stacked_and_padded_with_zeros_or_the_lowest_integer():
    rows = [take_row(INPUTS, arrays(3, 2, 1), at) for at in (0, 2)]
    assert rows[1]["h_0"].shape == (1, 1, 2)
    both = stack_rows(INPUTS, rows, {"sequence": 3, "target": 2})
    assert both["x"][..., 0].tolist() == [[1, 3], [1, 3], [0, 0]]
    assert both["words"].tolist() == [[5, 4], [7, 4]]
    assert both["numbers"].tolist() == [[1, 0], [3, 0]]
    assert both["lengths"].tolist() == [1, 2]
    assert both["h_0"][..., 0].tolist() == [[1, 3]]


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


@pytest.mark.parametrize("at", [0, 1, 2])
def test_initial_states_of_rows_are_usual_zero_small_or_large(at):
    axes: list[Axis] = [("layers", 20), ("hidden", 30)]
    axes.insert(at, "batch")
    drawn = np.moveaxis(draw(Floats(*axes), is_state=True), at, 0)
    assert drawn.shape == (400, 20, 30)
    np.testing.assert_allclose(drawn.reshape(100, 4, -1).std(axis=(0, 2)), [1.0, 0.0, 0.1, 2.0], rtol=0.02)
    bounded = draw(Floats(*axes), is_state=True, bounded_states=True)  # where tanh keeps them
    assert -1 <= bounded.min() < -0.99
    assert 0.99 < bounded.max() <= 1
