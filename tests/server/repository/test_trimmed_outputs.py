"""Loading finds out whether a model's outputs end with the longest length, also where its golden cases are short."""

import numpy as np
import pytest
from onnx import helper

from kit.artifacts import build_model, publish_model, tensor
from rnnserve.protos import manifest_pb2
from rnnserve.server.repository.load_version import load_model

INPUTS = [
    tensor("input", "FP32", "batch", "sequence", ("features", 2)),
    tensor("lengths", "INT64", "batch", lengths_of="sequence", default=manifest_pb2.DEFAULT_FULL_LENGTH),
]
OUTPUTS = [
    tensor("state", "FP32", "batch", "sequence", ("features", 2)),
    tensor("output", "FP32", "batch", "sequence", ("features", 2)),
]


def publish(folder, *, trims: bool, steps: int):
    """A model whose second output has as many steps as the longest length, or as the input. The first as the input."""
    end = ["longest"] if trims else ["all"]
    nodes = [
        helper.make_node("ReduceMax", ["lengths"], ["longest"], keepdims=1),
        helper.make_node("Identity", ["input"], ["state"]),
        helper.make_node("Slice", ["input", "zero", *end, "one"], ["output"]),
    ]
    constants = {"zero": np.array([0]), "one": np.array([1]), "all": np.array([2**31])}
    model = build_model(nodes, INPUTS, OUTPUTS, constants)
    sample = {"input": np.ones((2, steps, 2), np.float32), "lengths": np.array([1, steps])}
    return publish_model(folder, "slices", model, INPUTS, OUTPUTS, [sample])


@pytest.mark.parametrize("steps", [2, 9])
@pytest.mark.parametrize("trims", [True, False])
def test_it_is_found_out(tmp_path, trims, steps):
    model = load_model(publish(tmp_path, trims=trims, steps=steps), "slices", "1", "cpu")
    assert model.trims_outputs is trims
