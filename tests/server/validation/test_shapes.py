"""Messages about a wrong shape: what came, what is expected, and the likely mistake."""

import pytest

from rnnserve.server.validation.checking import wrong_shape, wrong_size
from rnnserve.server.validation.signature import TensorSpec


def spec(name, axes, *sizes, **more):
    return TensorSpec(name, "FP32", tuple(axes.split(", ")), sizes, **more)


INPUT = spec("input", "batch, sequence, features", -1, -1, 2)
FRAMES = spec("frames", "time, batch, mels", -1, -1, 80)
LENGTHS = spec("lengths", "batch", -1)
TOKENS = spec("tokens", "batch, sequence", -1, -1)
STATE = spec("h_0", "layers * directions, batch, hidden", 2, -1, 16)
PROFILE = spec("profile", "batch, fields", -1, 5)
COLUMNS = spec("columns", "channels, time, batch", 4, -1, -1)
BETWEEN = spec("between", "time, channels, batch", -1, 4, -1)
SIGNAL = spec("signal", "batch, channels, time", -1, 2, -1)
GRID = spec("grid", "batch, height, width", -1, -1, -1)
VIDEO = spec("video", "batch, time, height, width", -1, -1, 4, 6)
COLOURS = spec("colours", "batch, time, height, width, channels", -1, -1, 4, 6, 3)
LIMITED = spec("limited", "batch, sequence, features", -1, -1, 2, limits={"batch": (1, 8), "sequence": (5, 64)})

BATCH, BOTH = (
    "Is the batch axis missing? One ",
    "Are batch and sequence axes missing? A batch of one sequence with one step is ",
)
EXTRA, MISSING = "Is there an extra axis of size 1 ", "Is an axis missing? "

# By input and shape: the likely mistake, if there is one.
WRONG_COUNT = [
    (INPUT, (), ""),
    (INPUT, (1,), ""),
    (INPUT, (2,), BOTH + "[1, 1, 2]"),
    (INPUT, (4, 2), BATCH + "sequence of 4 points is [1, 4, 2]"),
    (INPUT, (4, 3), MISSING + "features is axis 2: [4, 3, 2]"),
    (INPUT, (1, 3, 4, 2), EXTRA + "in front?"),
    (INPUT, (3, 1, 4, 2), EXTRA + "at 1?"),
    (INPUT, (3, 4, 2, 1), EXTRA + "at 3?"),
    (INPUT, (2, 3, 4, 2), ""),
    (INPUT, (1, 1, 3, 4, 2), ""),
    (FRAMES, (7, 80), BATCH + "sequence of 7 points is [7, 1, 80]"),
    (LENGTHS, (), BATCH + "row is [1]"),
    (LENGTHS, (3, 1), "Flatten it to [3]"),
    (LENGTHS, (1, 3), EXTRA + "in front?"),
    (LENGTHS, (3, 2), ""),
    (LENGTHS, (3, 1, 1), ""),
    (TOKENS, (4,), BATCH + "sequence of 4 steps is [1, 4]"),
    (STATE, (16,), ""),
    (STATE, (2, 16), BATCH + "row is [2, 1, 16]"),
    (STATE, (3, 16), MISSING + "layers * directions is axis 0: [2, 3, 16]"),
    (PROFILE, (5,), BATCH + "row is [1, 5]"),
    (PROFILE, (3,), MISSING + "fields is axis 1: [3, 5]"),
    (GRID, (4, 5), BATCH + "sequence of 4 steps and 5 steps is [1, 4, 5]"),
    (GRID, (5,), ""),
    (BETWEEN, (4, 3), MISSING + "time is axis 0: [1, 4, 3]"),
    (SIGNAL, (3, 7), MISSING + "channels is axis 1: [3, 2, 7]"),
    (COLOURS, (2, 7, 4, 3), MISSING + "width is axis 3: [2, 7, 4, 6, 3]"),
    (COLOURS, (4, 6, 3), BOTH + "[1, 1, 4, 6, 3]"),
]

FEATURES, LAYERS = (
    "axis 2 (features) is {}, expected 2",
    "axis 0 (layers * directions) is {}, expected 2",
)
SWAP, FRONT, ORDER = (
    "Swap the last two axes: ",
    "on the first axis? They belong on the last: ",
    "Are the axes in another order, ",
)

# By input and shape: the axis that is wrong, and the likely mistake.
WRONG_SIZE = [
    (INPUT, (0, 4, 2), "axis 0 (batch) is 0, but must be 1 or more", ""),
    (INPUT, (3, -1, 2), "axis 1 (sequence) is -1, but must be 1 or more", ""),
    (INPUT, (2, 0, 4), "axis 1 (sequence) is 0, but must be 1 or more", ""),
    (INPUT, (3, 4, 5), FEATURES.format(5), ""),
    (INPUT, (3, 2, 4), FEATURES.format(4), "in the middle, (batch, features, sequence)? " + SWAP + "[3, 4, 2]"),
    (INPUT, (2, 2, 4), FEATURES.format(4), SWAP + "[2, 4, 2]"),
    (INPUT, (1, 2, 1), FEATURES.format(1), SWAP + "[1, 1, 2]"),
    (INPUT, (2, 3, 4), FEATURES.format(4), FRONT + "(batch, sequence, features=2)"),
    (LENGTHS, (0,), "axis 0 (batch) is 0, but must be 1 or more", ""),
    (STATE, (3, 2, 16), LAYERS.format(3), "batch-first: [2, 3, 16]"),
    (STATE, (3, 16, 2), LAYERS.format(3), "batch-first: [2, 3, 16]"),
    (STATE, (16, 3, 2), LAYERS.format(16), FRONT + "(layers * directions=2, batch, hidden=16)"),
    (STATE, (2, 16, 3), "axis 2 (hidden) is 3", "(layers * directions, hidden, batch)? " + SWAP + "[2, 3, 16]"),
    (STATE, (1, 3, 16), LAYERS.format(1), "one entry for each layer and direction"),
    (STATE, (2, 3, 8), "axis 2 (hidden) is 8, expected 16", ""),
    (PROFILE, (5, 3), "axis 1 (fields) is 3, expected 5", FRONT + "(batch, fields=5)"),
    (PROFILE, (3, 4), "axis 1 (fields) is 4, expected 5", ""),
    (
        COLUMNS, (9, 7, 4), "axis 0 (channels) is 9, expected 4",
        ORDER + "(batch, time, channels)? Send (channels, time, batch): [4, 7, 9]",
    ),
    (VIDEO, (7, 2, 6, 4), "axis 2 (height) is 6", "(batch, time, width, height)? " + SWAP + "[7, 2, 4, 6]"),
    (
        VIDEO, (2, 4, 6, 7), "axis 2 (height) is 6",
        ORDER + "(batch, height, width, time)? Send (batch, time, height, width): [2, 7, 4, 6]",
    ),
    (
        VIDEO, (4, 2, 7, 6), "axis 2 (height) is 7",
        ORDER + "(height, time, batch, width)? Send (batch, time, height, width): [7, 2, 4, 6]",
    ),
    (LIMITED, (3, 4, 2), "axis 1 (sequence) is 4, but the model takes 5 to 64", ""),
    (LIMITED, (3, 65, 2), "axis 1 (sequence) is 65, but the model takes 5 to 64", ""),
    (LIMITED, (9, 5, 2), "axis 0 (batch) is 9, but the model takes 1 to 8", ""),
    (COLOURS, (2, 7, 6, 4, 3), "axis 2 (height) is 6, expected 4", ""),
]  # fmt: skip


def check(tensor, shape, wrong, mistake):
    said = wrong_shape(tensor, shape)
    assert said is not None
    assert said.startswith(f'input "{tensor.name}" has shape {list(shape)}: {wrong}')
    expected = f"; {tensor.name} is {tensor.described_axes}"
    if mistake:
        assert f"{expected}. " in said
        assert said.endswith(mistake)
    else:
        assert said.endswith(expected)


@pytest.mark.parametrize(("tensor", "shape", "mistake"), WRONG_COUNT)
def test_wrong_number_of_axes_is_explained(tensor, shape, mistake):
    counts = ("0 axes", "1 axis", "2 axes", "3 axes", "4 axes", "5 axes")
    check(tensor, shape, f"has {counts[len(shape)]}, expected {counts[len(tensor.sizes)]}", mistake)


@pytest.mark.parametrize(("tensor", "shape", "wrong", "mistake"), WRONG_SIZE)
def test_axis_of_a_wrong_size_is_explained(tensor, shape, wrong, mistake):
    check(tensor, shape, wrong, mistake)


def test_valid_shape_is_accepted():
    for tensor, shape in (
        (INPUT, (1, 1, 2)), (STATE, (2, 2, 16)), (LENGTHS, (1,)), (COLOURS, (2, 7, 4, 6, 3)), (LIMITED, (1, 5, 2)),
        (LIMITED, (8, 64, 2)),
    ):  # fmt: skip
        assert wrong_shape(tensor, shape) is None


MASK = spec("mask", "batch, width", -1, -1)
ONE_EACH = "; every input has one entry a sequence"


@pytest.mark.parametrize(
    ("tensor", "shape", "axis", "other", "other_shape", "wrong", "mistake"),
    [
        (LENGTHS, (5,), "batch", INPUT, (4, 3, 2), 'axis 0 (batch) is 5, but axis 0 (batch) of "input" is 4', ONE_EACH),
        (
            LENGTHS, (3,), "batch", INPUT, (4, 3, 2), 'axis 0 (batch) is 3, but axis 0 (batch) of "input" is 4',
            'Is "input" sequence-first? Its shape [4, 3, 2] would fit as (sequence, batch, features); send '
            "(batch, sequence, features)",
        ),
        (
            STATE, (2, 4, 16), "batch", FRAMES, (4, 3, 80), 'axis 1 (batch) is 4, but axis 1 (batch) of "frames" is 3',
            'Is "frames" batch-first? Its shape [4, 3, 80] would fit as (batch, time, mels); send (time, batch, mels)',
        ),
        (LENGTHS, (3,), "batch", PROFILE, (4, 5), "axis 0 (batch) is 3", ONE_EACH),
        (
            MASK, (2, 6), "width", GRID, (2, 5, 7), 'axis 1 (width) is 6, but axis 2 (width) of "grid" is 7',
            "; all inputs have the same width",
        ),
        (MASK, (2, 5), "width", GRID, (2, 5, 7), "axis 1 (width) is 5", "; all inputs have the same width"),
    ],
)  # fmt: skip
def test_size_that_differs_from_another_inputs_is_explained(tensor, shape, axis, other, other_shape, wrong, mistake):
    said = wrong_size(tensor, shape, axis, other, other_shape)
    assert said is not None
    assert said.startswith(f'input "{tensor.name}" has shape {list(shape)}: {wrong}')
    assert said.endswith(mistake)


def test_equal_sizes_are_accepted():
    assert wrong_size(LENGTHS, (3,), "batch", INPUT, (3, 4, 2)) is None
    assert wrong_size(MASK, (2, 7), "width", GRID, (2, 5, 7)) is None
