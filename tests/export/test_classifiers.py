"""The publication of a direction classifier: its tensors are those of its forward, its walks are the samples."""

import numpy as np
import pytest
import torch

from kit.descriptions import describe_architecture
from rnnserve.export.tensors import axis_of, shape_of
from rnnserve.models import Architecture, DirectionClassifier
from rnnserve.protos import manifest_pb2

TORCH = {"FP32": torch.float32, "INT64": torch.int64}


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_tensors_are_those_of_forward_axis_by_axis(cell):
    architecture = Architecture(cell=cell, num_layers=2, bidirectional=True, features=3, hidden=5, classes=4)
    model = describe_architecture(architecture)
    tensors = [*model.inputs, *model.outputs]
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
    assert {t.name: {axis.name: axis.size for axis in t.axes} for t in tensors} == expected
    assert {t.name: axis_of(t, "batch") for t in tensors} == {
        name: list(axes).index("batch") for name, axes in expected.items()
    }
    continues = {t.name: t.continues_as for t in tensors if t.continues_as}
    assert continues == {"h_n": "h_0", **({"c_n": "c_0"} if cell == "lstm" else {})}
    assert {t.name: t.lengths_of for t in tensors if t.lengths_of} == {"lengths": "sequence"}
    zeros, full = manifest_pb2.DEFAULT_ZEROS, manifest_pb2.DEFAULT_FULL_LENGTH
    assert {t.name: t.default for t in model.inputs if t.default} == {
        "lengths": full,
        **{name: zeros for name in expected if name.endswith("_0")},
    }

    sizes = {"batch": 6, "sequence": 7}
    arguments = [torch.ones(shape_of(t, sizes), dtype=TORCH[t.datatype]) for t in model.inputs]
    with torch.random.fork_rng(devices=[]):
        results = DirectionClassifier.of(architecture)(*arguments)
    for tensor, result in zip(model.outputs, results, strict=True):
        assert (tuple(result.shape), result.dtype) == (shape_of(tensor, sizes), TORCH[tensor.datatype])


def test_samples_are_walks_of_seven_lengths_half_of_them_ragged():
    samples = describe_architecture(Architecture()).samples
    assert [sample["input"].shape for sample in samples] == [(64, size, 2) for size in (2, 3, 4, 8, 16, 32, 64)]
    for sample in samples:
        assert (sample["lengths"][:32] == sample["input"].shape[1]).all()
        assert sample["lengths"].min() >= 1
        assert not sample["h_0"].any()
    assert len(set(samples[-1]["lengths"][32:].tolist())) > 2
    assert np.abs(samples[-1]["input"]).max() <= 2
