import re

import pytest
import torch

from rnnserve.models import DirectionClassifier, ShapeError

f, i = torch.zeros, torch.tensor
LENGTHS = i([4, 2, 3])


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (
            [f(4, 2)],
            [
                "input has shape (4, 2)",
                "(batch, sequence, features) with 2 features",
                "batch axis is missing",
                "input[None]",
            ],
        ),
        ([f(4)], ["input has shape (4,)", "expected 3 axes, got 1"]),
        ([f(1, 3, 4, 2)], ["input has shape (1, 3, 4, 2)", "expected 3 axes, got 4"]),
        ([f(3, 2, 4)], ["input has shape (3, 2, 4)", "the last axis has size 4", "axis 1 has that size", "Permute"]),
        ([f(3, 4, 5)], ["input has shape (3, 4, 5)", "the last axis has size 5"]),
        ([f(0, 4, 2)], ["the batch axis is empty"]),
        ([f(3, 0, 2)], ["the sequence axis is empty"]),
        ([f(3, 4, 2).double()], ["input is torch.float64", "parameters are torch.float32", "input.to(torch.float32)"]),
        (
            [f(4, 3, 2), LENGTHS],
            ["lengths has shape (3,); expected (batch,) = (4,)", "sequence-first?", "input.transpose(0, 1)"],
        ),
        ([f(3, 4, 2), i([4, 2])], ["lengths has shape (2,); expected (batch,) = (3,)"]),
        ([f(3, 4, 2), i(4)], ["lengths has shape (); expected (batch,) = (3,)"]),
        ([f(3, 4, 2), i([4, 0, 3])], ["lengths[1] is 0, expected 1 to 4", "sequence axis of input (3, 4, 2)"]),
        ([f(3, 4, 2), i([4, 2, 5])], ["lengths[2] is 5, expected 1 to 4"]),
        ([f(3, 4, 2), i([4, -1, 5])], ["lengths[1] is -1, expected 1 to 4"]),
        ([f(3, 2, 2), i([2, 3, 1])], ["lengths[1] is 3, expected 1 to 2", "sequence-first?"]),
        ([f(3, 4, 2), LENGTHS.int()], ["lengths is torch.int32, expected torch.int64"]),
        (
            [f(3, 4, 2), None, f(3, 2, 16)],
            ["h_0 has shape (3, 2, 16)", "(num_layers * directions, batch, hidden) = (2, 3, 16)", "it is batch-first"],
        ),
        ([f(3, 4, 2), None, f(3, 16)], ["h_0 has shape (3, 16)", "first axis is missing", "h_0[None]"]),
        ([f(3, 4, 2), None, f(2, 4, 16)], ["h_0 has shape (2, 4, 16)", "is input (3, 4, 2) sequence-first?"]),
        (
            [f(3, 4, 2), None, f(1, 3, 16)],
            ["h_0 has shape (1, 3, 16)", "= (2, 3, 16), with 1 layer(s) and 2 direction(s)"],
        ),
        ([f(3, 4, 2), None, f(2, 3, 16).double()], ["h_0 is torch.float64"]),
        ([f(3, 4, 2), None, None, f(3, 2, 16)], ["c_0 has shape (3, 2, 16)", "c_0.transpose(0, 1)"]),
    ],
)
def test_error_teaches_the_expected_shape(arguments, messages):
    with pytest.raises(ShapeError) as caught:
        DirectionClassifier(cell="lstm", bidirectional=True)(*arguments)
    for message in messages:
        assert message in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_script_contains_no_checks():
    script = torch.jit.script(DirectionClassifier())
    assert not re.search("check|ShapeError", script.code)
