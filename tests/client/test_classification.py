import numpy as np
import pytest

from rnnserve.client import InvalidAnswer, ModelMetadata, Prediction, TensorMetadata
from rnnserve.client.classification import classified_output, read_classification

HIDDEN = np.ones((1, 3), np.float32)


def tensor(name, axes, datatype="FP32"):
    return TensorMetadata(name, datatype, (-1,) * max(len(axes) - 1, 1) + (3,), tuple(axes))


def model(*outputs, labels=("no", "yes")):
    return ModelMetadata("m", ("1",), "", {}, {output.name: output for output in outputs}, labels)


def read(logits, labels=("no", "yes")):
    prediction = Prediction({"scores": np.asarray(logits), "h_n": HIDDEN}, "7")
    return read_classification(prediction, "scores", model(labels=labels))


def test_probabilities_of_large_logits_add_up():
    assert read(np.array([1e4, 0], np.float32)).probabilities.tolist() == [1, 0]
    assert read(np.array([-1e4, -1e4], np.float32)).probabilities.tolist() == [0.5, 0.5]


def test_answer_without_classes_is_refused():
    for logits, complaint in (
        (np.zeros(0, "f4"), "0 classes; expected floats"),
        (np.zeros(2, int), "scores has dtype int64"),
        (np.zeros(3, "f4"), "3 classes, but the model has 2 labels"),
    ):
        with pytest.raises(InvalidAnswer, match=complaint):
            read(logits)


@pytest.mark.parametrize(
    ("outputs", "name"),
    [
        ([tensor("h", ["batch", "hidden"]), tensor("scores", ["batch", "classes"])], "scores"),
        ([tensor("tags", ["batch", "sequence", "classes"]), tensor("scores", ["batch", "classes"])], "scores"),
        ([tensor("logits", [])], "logits"),
        ([tensor("tags", ["batch", "sequence", "classes"])], None),
        ([tensor("counts", ["batch", "classes"], "INT64")], None),
    ],
)
def test_classification_uses_the_output_with_the_classes(outputs, name):
    assert classified_output(model(*outputs)) == name
