"""The exact words about every wrong shape: what came, what is expected, and the likely mistake, if there is one."""

import pytest

from rnnserve.server.boundary.shapes import wrong_shape, wrong_size
from rnnserve.server.boundary.signature import TensorSpec

INPUT = TensorSpec("input", "FP32", ("batch", "sequence", "features"), (-1, -1, 2))
FRAMES = TensorSpec("frames", "FP32", ("time", "batch", "mels"), (-1, -1, 80))
LENGTHS = TensorSpec("lengths", "INT64", ("batch",), (-1,))
TOKENS = TensorSpec("tokens", "INT64", ("batch", "sequence"), (-1, -1))
STATE = TensorSpec("h_0", "FP32", ("layers * directions", "batch", "hidden"), (2, -1, 16))
PROFILE = TensorSpec("profile", "FP32", ("batch", "fields"), (-1, 5))
COLUMNS = TensorSpec("columns", "FP32", ("channels", "time", "batch"), (4, -1, -1))
BETWEEN = TensorSpec("between", "FP32", ("time", "channels", "batch"), (-1, 4, -1))
SIGNAL = TensorSpec("signal", "FP32", ("batch", "channels", "time"), (-1, 2, -1))
GRID = TensorSpec("grid", "FP32", ("batch", "height", "width"), (-1, -1, -1))
VIDEO = TensorSpec("video", "FP32", ("batch", "time", "height", "width"), (-1, -1, 4, 6))
COLOURS = TensorSpec("colours", "FP32", ("batch", "time", "height", "width", "channels"), (-1, -1, 4, 6, 3))

LIMITED = TensorSpec(
    "limited", "FP32", ("batch", "sequence", "features"), (-1, -1, 2), limits={"batch": (1, 8), "sequence": (5, 64)}
)

BOTH = "Are batch and sequence axes missing? One sequence of one point is "
MIDDLE = "Are the features in the middle, (batch, features, sequence)? Swap the last two axes: "
FRONT = "Are the features in front? They come last: (batch, sequence, features=2)"
BATCH_FIRST = (
    'Is it batch-first? "h_0" is (layers * directions, batch, hidden), also where other inputs are batch-first: '
)
OTHER = "Are the axes in another order, "
LAYERS = "This model has 2 in layers * directions: one entry a layer and direction"

# By input and shape: the likely mistake, if there is one.
WRONG_COUNT = [
    (INPUT, (), ""),
    (INPUT, (1,), ""),
    (INPUT, (2,), BOTH + "[1, 1, 2]"),
    (INPUT, (4, 2), "Is the batch axis missing? One sequence of 4 points is [1, 4, 2]"),
    (INPUT, (4, 3), "Is an axis missing? features is axis 2: [4, 3, 2]"),
    (INPUT, (1, 3, 4, 2), "Is there an axis of size 1 too many in front?"),
    (INPUT, (3, 1, 4, 2), "Is there an axis of size 1 too many at 1?"),
    (INPUT, (3, 4, 2, 1), "Is there an axis of size 1 too many at 3?"),
    (INPUT, (2, 3, 4, 2), ""),
    (INPUT, (1, 1, 3, 4, 2), ""),
    (FRAMES, (7, 80), "Is the batch axis missing? One sequence of 7 points is [7, 1, 80]"),
    (FRAMES, (80,), BOTH + "[1, 1, 80]"),
    (LENGTHS, (), "Is the batch axis missing? One row is [1]"),
    (LENGTHS, (3, 1), "Flatten it to [3]"),
    (LENGTHS, (1, 3), "Is there an axis of size 1 too many in front?"),
    (LENGTHS, (3, 2), ""),
    (LENGTHS, (3, 1, 1), ""),
    (TOKENS, (4,), "Is the batch axis missing? One sequence of 4 steps is [1, 4]"),
    (TOKENS, (3, 1, 4), "Is there an axis of size 1 too many at 1?"),
    (TOKENS, (3, 4, 1), "Is there an axis of size 1 too many at 2?"),
    (STATE, (16,), ""),
    (STATE, (2, 16), "Is the batch axis missing? One row is [2, 1, 16]"),
    (STATE, (3, 16), "Is an axis missing? layers * directions is axis 0: [2, 3, 16]"),
    (STATE, (2, 3), "Is an axis missing? hidden is axis 2: [2, 3, 16]"),
    (PROFILE, (5,), "Is the batch axis missing? One row is [1, 5]"),
    (PROFILE, (3,), "Is an axis missing? fields is axis 1: [3, 5]"),
    (GRID, (4, 5), "Is the batch axis missing? One sequence of 4 steps and 5 steps is [1, 4, 5]"),
    (BETWEEN, (4, 3), "Is an axis missing? time is axis 0: [1, 4, 3]"),
    (SIGNAL, (3, 7), "Is an axis missing? channels is axis 1: [3, 2, 7]"),
    (GRID, (5,), ""),
    (GRID, (3, 4, 5, 1), "Is there an axis of size 1 too many at 3?"),
    (COLOURS, (7, 4, 6, 3), "Is the batch axis missing? One sequence of 7 points is [1, 7, 4, 6, 3]"),
    (COLOURS, (2, 7, 4, 6), "Is an axis missing? channels is axis 4: [2, 7, 4, 6, 3]"),
    (COLOURS, (2, 7, 4, 3), "Is an axis missing? width is axis 3: [2, 7, 4, 6, 3]"),
    (COLOURS, (4, 6, 3), BOTH + "[1, 1, 4, 6, 3]"),
]

# By input and shape: the axis that is wrong, and the likely mistake.
WRONG_SIZE = [
    (INPUT, (0, 4, 2), "axis 0 (batch) is 0, and must be 1 or more", ""),
    (INPUT, (3, -1, 2), "axis 1 (sequence) is -1, and must be 1 or more", ""),
    (INPUT, (2, 0, 4), "axis 1 (sequence) is 0, and must be 1 or more", ""),
    (INPUT, (3, 4, 5), "axis 2 (features) is 5 where 2 is expected", ""),
    (INPUT, (3, 2, 4), "axis 2 (features) is 4 where 2 is expected", MIDDLE + "[3, 4, 2]"),
    (INPUT, (2, 2, 4), "axis 2 (features) is 4 where 2 is expected", MIDDLE + "[2, 4, 2]"),
    (INPUT, (1, 2, 1), "axis 2 (features) is 1 where 2 is expected", MIDDLE + "[1, 1, 2]"),
    (INPUT, (2, 3, 4), "axis 2 (features) is 4 where 2 is expected", FRONT),
    (LENGTHS, (0,), "axis 0 (batch) is 0, and must be 1 or more", ""),
    (STATE, (3, 2, 16), "axis 0 (layers * directions) is 3 where 2 is expected", BATCH_FIRST + "[2, 3, 16]"),
    (STATE, (3, 16, 2), "axis 0 (layers * directions) is 3 where 2 is expected", BATCH_FIRST + "[2, 3, 16]"),
    (
        STATE,
        (16, 3, 2),
        "axis 0 (layers * directions) is 16 where 2 is expected",
        "Are the hidden in front? They come last: (layers * directions=2, batch, hidden=16)",
    ),
    (
        STATE,
        (2, 16, 3),
        "axis 2 (hidden) is 3 where 16 is expected",
        "Are the hidden in the middle, (layers * directions, hidden, batch)? Swap the last two axes: [2, 3, 16]",
    ),
    (STATE, (1, 3, 16), "axis 0 (layers * directions) is 1 where 2 is expected", LAYERS),
    (STATE, (4, 3, 16), "axis 0 (layers * directions) is 4 where 2 is expected", LAYERS),
    (STATE, (2, 3, 8), "axis 2 (hidden) is 8 where 16 is expected", ""),
    (STATE, (2, 0, 16), "axis 1 (batch) is 0, and must be 1 or more", ""),
    (
        PROFILE,
        (5, 3),
        "axis 1 (fields) is 3 where 5 is expected",
        "Are the fields in front? They come last: (batch, fields=5)",
    ),
    (PROFILE, (3, 4), "axis 1 (fields) is 4 where 5 is expected", ""),
    (
        COLUMNS,
        (9, 7, 4),
        "axis 0 (channels) is 9 where 4 is expected",
        OTHER + "(batch, time, channels)? Send (channels, time, batch): [4, 7, 9]",
    ),
    (
        VIDEO,
        (7, 2, 6, 4),
        "axis 2 (height) is 6 where 4 is expected",
        "Are the width in the middle, (batch, time, width, height)? Swap the last two axes: [7, 2, 4, 6]",
    ),
    (
        VIDEO,
        (2, 4, 6, 7),
        "axis 2 (height) is 6 where 4 is expected",
        OTHER + "(batch, height, width, time)? Send (batch, time, height, width): [2, 7, 4, 6]",
    ),
    (
        VIDEO,
        (2, 6, 4, 7),
        "axis 3 (width) is 7 where 6 is expected",
        OTHER + "(batch, width, height, time)? Send (batch, time, height, width): [2, 7, 4, 6]",
    ),
    (
        VIDEO,
        (4, 2, 7, 6),
        "axis 2 (height) is 7 where 4 is expected",
        OTHER + "(height, time, batch, width)? Send (batch, time, height, width): [7, 2, 4, 6]",
    ),
    (LIMITED, (3, 4, 2), "axis 1 (sequence) is 4, and the model takes 5 to 64", ""),
    (LIMITED, (3, 65, 2), "axis 1 (sequence) is 65, and the model takes 5 to 64", ""),
    (LIMITED, (9, 5, 2), "axis 0 (batch) is 9, and the model takes 1 to 8", ""),
    (LIMITED, (3, 0, 2), "axis 1 (sequence) is 0, and must be 1 or more", ""),
    (COLOURS, (2, 7, 6, 4, 3), "axis 2 (height) is 6 where 4 is expected", ""),
]

COUNTS = ("0 axes", "1 axis", "2 axes", "3 axes", "4 axes", "5 axes")


def message(spec, shape, wrong, mistake):
    said = f'input "{spec.name}" has shape {list(shape)}: {wrong}; {spec.name} is {spec.described_axes}'
    return f"{said}. {mistake}" if mistake else said


@pytest.mark.parametrize(("spec", "shape", "mistake"), WRONG_COUNT)
def test_too_few_axes_or_too_many(spec, shape, mistake):
    wrong = f"has {COUNTS[len(shape)]} where {COUNTS[len(spec.sizes)]} should be"
    assert wrong_shape(spec, shape) == message(spec, shape, wrong, mistake)


@pytest.mark.parametrize(("spec", "shape", "wrong", "mistake"), WRONG_SIZE)
def test_an_axis_of_a_wrong_size(spec, shape, wrong, mistake):
    assert wrong_shape(spec, shape) == message(spec, shape, wrong, mistake)


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        (INPUT, (1, 1, 2)),
        (STATE, (2, 2, 16)),
        (LENGTHS, (1,)),
        (COLOURS, (2, 7, 4, 6, 3)),
        (LIMITED, (1, 5, 2)),
        (LIMITED, (8, 64, 2)),
    ],
)
def test_a_shape_that_is_right(spec, shape):
    assert wrong_shape(spec, shape) is None


MASK = TensorSpec("mask", "BOOL", ("batch", "width"), (-1, -1))

SEQUENCE_FIRST = (
    '. Is "input" sequence-first? Its shape [4, 3, 2] would fit as (sequence, batch, features); send '
    "(batch, sequence, features)"
)
FRAMES_BATCH_FIRST = (
    '. Is "frames" batch-first? Its shape [4, 3, 80] would fit as (batch, time, mels); send (time, batch, mels)'
)
ONE_EACH = "; every input has one entry a sequence"


@pytest.mark.parametrize(
    ("spec", "shape", "axis", "other", "other_shape", "said"),
    [
        (LENGTHS, (3,), "batch", INPUT, (3, 4, 2), None),
        (
            LENGTHS,
            (5,),
            "batch",
            INPUT,
            (4, 3, 2),
            ('axis 0 (batch) is 5, but axis 0 (batch) of "input" is 4', ONE_EACH),
        ),
        (
            LENGTHS,
            (3,),
            "batch",
            INPUT,
            (4, 3, 2),
            ('axis 0 (batch) is 3, but axis 0 (batch) of "input" is 4', ONE_EACH + SEQUENCE_FIRST),
        ),
        (
            STATE,
            (2, 4, 16),
            "batch",
            FRAMES,
            (4, 3, 80),
            ('axis 1 (batch) is 4, but axis 1 (batch) of "frames" is 3', ONE_EACH + FRAMES_BATCH_FIRST),
        ),
        (
            LENGTHS,
            (3,),
            "batch",
            PROFILE,
            (4, 5),
            ('axis 0 (batch) is 3, but axis 0 (batch) of "profile" is 4', ONE_EACH),
        ),
        (MASK, (2, 7), "width", GRID, (2, 5, 7), None),
        (
            MASK,
            (2, 6),
            "width",
            GRID,
            (2, 5, 7),
            ('axis 1 (width) is 6, but axis 2 (width) of "grid" is 7', "; all inputs have the same width"),
        ),
        (
            MASK,
            (2, 5),
            "width",
            GRID,
            (2, 5, 7),
            ('axis 1 (width) is 5, but axis 2 (width) of "grid" is 7', "; all inputs have the same width"),
        ),
    ],
)
def test_a_size_that_differs_from_another_inputs(spec, shape, axis, other, other_shape, said):
    expected = said and f'input "{spec.name}" has shape {list(shape)}: {said[0]}{said[1]}'
    assert wrong_size(spec, shape, axis, other, other_shape) == expected
