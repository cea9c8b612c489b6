"""The tensors of a classifier, and that they are those of its forward."""

import pytest
import torch

from rnnserve.export.classifier_tensors import batch_axes, initial_states_of, inputs_of, outputs_of, shape_of
from rnnserve.models import Architecture, DirectionClassifier
from rnnserve.protos import manifest_pb2

TORCH = {"FP32": torch.float32, "INT64": torch.int64}


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_tensors_are_named_axis_by_axis(cell):
    architecture = Architecture(cell=cell, num_layers=2, bidirectional=True, features=3, hidden=5, classes=4)
    tensors = [*inputs_of(architecture), *outputs_of(architecture)]
    form = {t.name: {axis.name: axis.size for axis in t.axes} for t in tensors}
    state = {"layers * directions": 4, "batch": -1, "hidden": 5}
    expected = {
        "input": {"batch": -1, "sequence": -1, "features": 3},
        "lengths": {"batch": -1},
        "h_0": state,
        "logits": {"batch": -1, "classes": 4},
        "output": {"batch": -1, "sequence": -1, "directions * hidden": 10},
        "h_n": state,
    }
    if cell == "lstm":
        expected |= {"c_0": state, "c_n": state}
    assert form == expected
    continues = {t.name: t.continues_as for t in tensors if t.continues_as}
    assert continues == {"h_n": "h_0", **({"c_n": "c_0"} if cell == "lstm" else {})}


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_forward_takes_and_gives_these_tensors(cell):
    architecture = Architecture(cell=cell, num_layers=2, bidirectional=True, features=3, hidden=5, classes=4)
    sizes = {"batch": 6, "sequence": 7}
    arguments = [torch.ones(shape_of(t, sizes), dtype=TORCH[t.datatype]) for t in inputs_of(architecture)]
    with torch.random.fork_rng(devices=[]):
        results = DirectionClassifier.of(architecture)(*arguments)
    for tensor, result in zip(outputs_of(architecture), results, strict=True):
        assert (tuple(result.shape), result.dtype) == (shape_of(tensor, sizes), TORCH[tensor.datatype])


def test_what_a_request_may_leave_out():
    defaults = {tensor.name: tensor.default for tensor in inputs_of(Architecture(cell="lstm"))}
    assert defaults == {
        "input": manifest_pb2.DEFAULT_REQUIRED,
        "lengths": manifest_pb2.DEFAULT_FULL_LENGTH,
        "h_0": manifest_pb2.DEFAULT_ZEROS,
        "c_0": manifest_pb2.DEFAULT_ZEROS,
    }


def test_initial_states_are_the_last_inputs():
    assert initial_states_of(Architecture()) == inputs_of(Architecture())[2:]
    assert [state.name for state in initial_states_of(Architecture(cell="lstm"))] == ["h_0", "c_0"]


def test_where_the_batch_axis_is():
    assert batch_axes(Architecture(cell="lstm")) == {
        "input": 0, "lengths": 0, "h_0": 1, "c_0": 1, "logits": 0, "output": 0, "h_n": 1, "c_n": 1,
    }  # fmt: skip
