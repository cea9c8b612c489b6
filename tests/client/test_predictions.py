import numpy as np
import pytest

from rnnserve.client import InvalidAnswer, ModelMetadata, TensorMetadata
from rnnserve.client.predictions import read_predictions
from rnnserve.client.row_inputs import check_rows

INPUTS = {
    "input": TensorMetadata("input", "FP32", (-1, -1, 2), ("batch", "sequence", "features")),
    "lengths": TensorMetadata("lengths", "INT64", (-1,), ("batch",), optional=True, lengths_of="sequence"),
}
OUTPUTS = {
    "logits": TensorMetadata("logits", "FP32", (-1, 2), ("batch", "classes")),
    "h_n": TensorMetadata("h_n", "FP32", (2, -1, 3), ("layers * directions", "batch", "hidden")),
    "output": TensorMetadata("output", "FP32", (-1, -1, 3), ("batch", "sequence", "hidden")),
}
GOOD = {
    "logits": np.array([[1.0, 2.0], [4.0, 3.0]], np.float32),
    "h_n": np.arange(2 * 2 * 3, dtype=np.float32).reshape(2, 2, 3),
    "output": np.arange(30, dtype=np.float32).reshape(2, 5, 3),
}


def read(answer, outputs=OUTPUTS):
    metadata = ModelMetadata("m", ("1",), "", INPUTS, outputs)
    rows = check_rows(metadata, [np.zeros((length, 2)) for length in (5, 2)])
    return read_predictions(metadata, answer, rows, range(2), requested=list(outputs), model_version="7")


def output_of(*axes, shape=(-1, -1, 3)):
    return {"output": TensorMetadata("output", "FP32", shape, axes)}


def test_unnamed_axes_are_trimmed_to_the_row_if_they_fit():
    assert read(GOOD, output_of())[1]["output"].shape == (2, 3)
    assert read({"output": GOOD["output"][:, :4]}, output_of())[1]["output"].shape == (4, 3)


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("logits", None, 'lacks output "logits".*it has h_n, output'),
        ("logits", np.zeros((3, 2), "f4"), r"logits has shape \(3, 2\); expected \(2, 2\)"),
        ("h_n", np.zeros((2, 3), "f4"), r"h_n has shape \(2, 3\); expected \(2, 2, 3\)"),
        ("output", np.zeros((2, 4, 3), "f4"), r"output has shape \(2, 4, 3\); expected \(2, 5, 3\)"),
    ],
)
def test_answer_that_does_not_fit_the_request_is_refused(name, value, complaint):
    with pytest.raises(InvalidAnswer, match=complaint):
        read({key: array for key, array in (GOOD | {name: value}).items() if array is not None})


def test_output_without_a_batch_axis_is_refused():
    with pytest.raises(InvalidAnswer, match="has no batch axis"):
        read(GOOD, output_of(shape=(2, 2)))
