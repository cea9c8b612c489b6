import numpy as np
import pytest

from rnnserve.client import InvalidAnswer
from rnnserve.client.classification import read_classifications

GOOD = {
    "logits": np.array([[1.0, 2.0], [4.0, 3.0]], np.float32),
    "h_n": np.arange(2 * 2 * 3, dtype=np.float32).reshape(2, 2, 3),
    "output": np.ones((2, 5, 3), np.float32),
}


def read(outputs, requested=("logits", "h_n", "output")):
    return read_classifications(outputs, [5, 2], requested=requested, labels=["no", "yes"], model_version="1")


def test_each_row_gets_its_own_part():
    first, second = read(GOOD)
    assert (first.label, second.label) == ("yes", "no")
    np.testing.assert_array_equal(second.h_n, GOOD["h_n"][:, 1])
    assert (first.output.shape, second.output.shape) == ((5, 3), (2, 3))
    second.h_n[:] = 0
    assert GOOD["h_n"].any(), "a state is a copy of its own"


def test_probabilities_of_any_logits_add_up():
    large = np.array([[1e4, 0], [-1e4, -1e4]], np.float32)
    first, second = read({"logits": large}, ["logits"])
    assert first.probabilities.tolist() == [1, 0]
    assert second.probabilities.tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("logits", None, "lacks logits.*it has h_n, output"),
        ("logits", np.zeros((3, 2), "f4"), r"logits has shape \(3, 2\), expected \(2, -1\)"),
        ("logits", np.zeros((2, 0), "f4"), "no classes"),
        ("logits", np.zeros((2, 2), int), "logits has dtype int64"),
        ("logits", np.zeros((2, 3), "f4"), "2 labels, but the answer has 3 classes"),
        ("h_n", np.zeros((2, 3), "f4"), r"h_n has shape \(2, 3\), expected \(-1, 2, -1\)"),
        ("h_n", np.zeros((2, 1, 3), "f4"), r"h_n has shape \(2, 1, 3\)"),
        ("output", np.zeros((2, 4, 3), "f4"), r"output has shape \(2, 4, 3\), expected \(2, 5, -1\)"),
    ],
)
def test_answers_that_do_not_fit_the_question_are_refused(name, value, complaint):
    outputs = {key: array for key, array in (GOOD | {name: value}).items() if array is not None}
    with pytest.raises(InvalidAnswer, match=complaint):
        read(outputs)
