"""Rows, shapes and lengths of tensors whose batch axis isn't the first."""

import numpy as np

from rnnserve.export.description.publication import Floats, Integers, Lengths
from rnnserve.export.tensors import (
    lengths_inputs,
    mask_before_lengths,
    sequence_axes,
    shape_of,
    sizes_of,
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


def test_axes_and_sizes_are_found():
    assert sequence_axes(INPUTS) == ["sequence", "target"]
    assert lengths_inputs(INPUTS) == {"sequence": "lengths"}
    assert sizes_of(INPUTS, arrays(3, 5, 4)) == {"batch": 3, "sequence": 5, "target": 4}
    assert shape_of(INPUTS[0], {"batch": 3, "sequence": 5, "target": 4}) == (5, 3, 2)


def test_rows_are_stacked_and_padded_with_zeros_or_the_lowest_integer():
    rows = [take_row(INPUTS, arrays(3, 2, 1), at) for at in (0, 2)]
    assert rows[1]["h_0"].shape == (1, 1, 2)
    both = stack_rows(INPUTS, rows, {"sequence": 3, "target": 2})
    assert both["x"][..., 0].tolist() == [[1, 3], [1, 3], [0, 0]]
    assert both["words"].tolist() == [[5, 4], [7, 4]]
    assert both["numbers"].tolist() == [[1, 0], [3, 0]]
    assert both["lengths"].tolist() == [1, 2]
    assert both["h_0"][..., 0].tolist() == [[1, 3]]


def test_mask_is_true_before_the_length_of_each_row():
    given = arrays(3, 2, 4)
    mask = mask_before_lengths(INPUTS[0], (2, 3, 2), given, {"sequence": "lengths"})
    assert mask[..., 0].tolist() == [[True, True, True], [False, True, True]]
    assert mask_before_lengths(INPUTS[1], (3, 4), given, {"sequence": "lengths"}) is None
    assert mask_before_lengths(INPUTS[0], (2, 3, 2), given, {}) is None
