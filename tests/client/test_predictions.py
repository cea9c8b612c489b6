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


def read(answer, requested=("logits", "h_n", "output"), outputs=OUTPUTS, lengths=(5, 2), **lengths_input):
    inputs = {**INPUTS, **lengths_input}
    metadata = ModelMetadata("m", ("1",), "", inputs, outputs)
    rows = check_rows(metadata, [np.zeros((length, 2)) for length in lengths])
    return read_predictions(metadata, answer, rows, range(len(lengths)), requested=requested, model_version="7")


def test_each_row_gets_its_own_part():
    first, second = read(GOOD)
    assert (list(first), first.model_version) == (["logits", "h_n", "output"], "7")
    np.testing.assert_array_equal(second["h_n"], GOOD["h_n"][:, 1])
    assert first["output"].tolist() == GOOD["output"][0].tolist()
    assert second["output"].tolist() == GOOD["output"][1, :2].tolist()
    second["h_n"][:] = 0
    assert GOOD["h_n"].any(), "a state is a copy of its own"


def test_the_batch_may_be_anywhere():
    outputs = {"output": TensorMetadata("output", "FP32", (-1, -1, 3), ("sequence", "batch", "hidden"))}
    first, second = read({"output": GOOD["output"].swapaxes(0, 1)}, ["output"], outputs)
    assert first["output"].tolist() == GOOD["output"][0].tolist()
    assert second["output"].tolist() == GOOD["output"][1, :2].tolist()


def test_an_axis_that_no_input_has_is_left_as_it_is():
    outputs = {"output": TensorMetadata("output", "FP32", (-1, -1, 3), ("batch", "frames", "hidden"))}
    assert read(GOOD, ["output"], outputs)[1]["output"].tolist() == GOOD["output"][1].tolist()


def test_axes_that_the_server_does_not_name_are_cut_where_they_fit():
    outputs = {"output": TensorMetadata("output", "FP32", (-1, -1, 3))}
    assert read(GOOD, ["output"], outputs)[1]["output"].shape == (2, 3)
    assert read({"output": GOOD["output"][:, :4]}, ["output"], outputs)[1]["output"].shape == (4, 3)


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("logits", None, "lacks logits.*it has h_n, output"),
        ("logits", np.zeros((3, 2), "f4"), r"logits has shape \(3, 2\), expected \(2, 2\)"),
        ("h_n", np.zeros((2, 3), "f4"), r"h_n has shape \(2, 3\), expected \(2, 2, 3\)"),
        ("h_n", np.zeros((2, 1, 3), "f4"), r"h_n has shape \(2, 1, 3\)"),
        ("output", np.zeros((2, 4, 3), "f4"), r"output has shape \(2, 4, 3\), expected \(2, 5, 3\)"),
    ],
)
def test_answers_that_do_not_fit_the_question_are_refused(name, value, complaint):
    outputs = {key: array for key, array in (GOOD | {name: value}).items() if array is not None}
    with pytest.raises(InvalidAnswer, match=complaint):
        read(outputs)


def test_an_output_without_a_batch_is_refused():
    outputs = {"logits": TensorMetadata("logits", "FP32", (2, 2))}
    with pytest.raises(InvalidAnswer, match="has no batch axis"):
        read(GOOD, ["logits"], outputs)
