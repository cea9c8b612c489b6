import re

import numpy as np
import pytest

from rnnserve.client import InvalidAnswer, InvalidRequest, ModelMetadata, Prediction, TensorMetadata
from rnnserve.client.classification import classified_output, read_classification, require_classified_output

HIDDEN = np.ones((1, 3), np.float32)


def tensor(name, axes, datatype="FP32", sizes=None):
    return TensorMetadata(name, datatype, sizes or (-1,) * (len(axes) - 1) + (3,), tuple(axes))


def model(*outputs, labels=("no", "yes")):
    return ModelMetadata("m", ("1",), "", {}, {output.name: output for output in outputs}, labels)


def read(logits, labels=("no", "yes")):
    prediction = Prediction({"scores": np.asarray(logits), "h_n": HIDDEN}, "7")
    return read_classification(prediction, "scores", model(labels=labels))


def test_the_most_probable_class_has_the_label():
    found = read(np.array([1.0, 2.0], np.float32))
    assert (found.label, found.index, found.model_version) == ("yes", 1, "7")
    assert found.logits.tolist() == [1, 2]
    np.testing.assert_allclose(found.probabilities, np.exp([1, 2]) / np.exp([1, 2]).sum())
    assert found.h_n is HIDDEN
    assert (found.c_n, found.output) == (None, None)


def test_without_labels_the_index_is_the_label():
    assert read(np.array([1.0, 2.0]), None).label == "1"


def test_probabilities_of_any_logits_add_up():
    assert read(np.array([1e4, 0], np.float32)).probabilities.tolist() == [1, 0]
    assert read(np.array([-1e4, -1e4], np.float32)).probabilities.tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("logits", "complaint"),
    [
        (np.zeros(0, "f4"), "scores has no classes"),
        (np.zeros(2, int), "scores has dtype int64"),
        (np.zeros(3, "f4"), "2 labels, but the answer has 3 classes"),
    ],
)
def test_answers_without_classes_are_refused(logits, complaint):
    with pytest.raises(InvalidAnswer, match=complaint):
        read(logits)


@pytest.mark.parametrize(
    ("outputs", "name"),
    [
        ([tensor("h", ["batch", "hidden"]), tensor("scores", ["batch", "classes"])], "scores"),
        ([tensor("tags", ["batch", "sequence", "classes"]), tensor("scores", ["batch", "classes"])], "scores"),
        ([tensor("logits", [], sizes=(-1, 3))], "logits"),
        ([tensor("logits", ["batch", "values"])], None),
        ([tensor("tags", ["batch", "sequence", "classes"])], None),
        ([tensor("counts", ["batch", "classes"], "INT64")], None),
        ([], None),
    ],
)
def test_the_output_with_the_classes_is_found(outputs, name):
    assert classified_output(model(*outputs)) == name


def test_a_model_without_classes_is_no_classifier():
    with pytest.raises(
        InvalidRequest, match=re.escape("model m returns h. classify() needs an output (batch, classes)")
    ):
        require_classified_output(model(tensor("h", ["batch", "hidden"])))
