"""Which outputs of an ONNX file are zeros after each row's length: found by running it."""

from typing import Any

import numpy as np
import pytest

from kit.descriptions import tensors_described
from rnnserve.export.adoption.adoption import _zeros
from rnnserve.export.description.input_descriptions import Floats, Lengths
from rnnserve.export.parity.onnx_truth import OnnxTruth


def zeros(run, *, inputs=None, sizes=None):
    model = tensors_described(
        inputs or {"x": Floats("batch", "sequence"), "lengths": Lengths()},
        {"steps": Floats("batch", "sequence"), "last": Floats("batch", 1)},
        sizes or {"batch": (1, 33), "sequence": (1, 128)},
    )
    shapes = []

    def kept(arrays):
        shapes.append(arrays["x"].shape)
        return run(arrays)

    runner: Any = kept
    return _zeros(model, OnnxTruth(runner)), set(shapes)


def masked(arrays):
    within = np.arange(arrays["x"].shape[1]) < arrays["lengths"][:, None]
    return {"steps": np.where(within, arrays["x"], 0), "last": arrays["x"][:, :1]}


def as_they_are(arrays):
    return {"steps": arrays["x"], "last": arrays["x"][:, :1]}


def test_zeros_and_other_values():
    assert zeros(masked) == ({"steps"}, {(5, 8)})
    assert zeros(as_they_are) == (set(), {(5, 8)})


def test_without_lengths_there_is_nothing_after_them():
    assert zeros(as_they_are, inputs={"x": Floats("batch", "sequence")})[0] == set()


@pytest.mark.parametrize(
    ("sizes", "shape"),
    [
        ({"batch": (1, 4), "sequence": (1, 6)}, (4, 6)),
        ({"batch": (7, 9), "sequence": (10, 12)}, (7, 10)),
    ],
)
def test_sizes_stay_within_those_of_the_model(sizes, shape):
    assert zeros(masked, sizes=sizes) == ({"steps"}, {shape})
