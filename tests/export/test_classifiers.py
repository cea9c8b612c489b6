"""The publication of a direction classifier: its tensors are those of its forward, its walks the samples."""

import numpy as np
import pytest
import torch

from kit.descriptions import describe_architecture
from rnnserve.export import classifiers
from rnnserve.export.parity.tutorial_equalities import check_tutorial_equalities
from rnnserve.export.tensor_shapes import axis_of, shape_of
from rnnserve.models import LABELS, Architecture, Checkpoint, DirectionClassifier
from rnnserve.protos import manifest_pb2

TORCH = {"FP32": torch.float32, "INT64": torch.int64}


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_tensors_are_named_axis_by_axis(cell):
    architecture = Architecture(cell=cell, num_layers=2, bidirectional=True, features=3, hidden=5, classes=4)
    model = describe_architecture(architecture)
    tensors = [*model.inputs, *model.outputs]
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
    assert {t.name: t.lengths_of for t in tensors if t.lengths_of} == {"lengths": "sequence"}
    assert model.labelled == "logits"
    assert list(model.further_checks) == [check_tutorial_equalities]


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_forward_takes_and_gives_these_tensors(cell):
    architecture = Architecture(cell=cell, num_layers=2, bidirectional=True, features=3, hidden=5, classes=4)
    model = describe_architecture(architecture)
    sizes = {"batch": 6, "sequence": 7}
    arguments = [torch.ones(shape_of(t, sizes), dtype=TORCH[t.datatype]) for t in model.inputs]
    with torch.random.fork_rng(devices=[]):
        results = DirectionClassifier.of(architecture)(*arguments)
    for tensor, result in zip(model.outputs, results, strict=True):
        assert (tuple(result.shape), result.dtype) == (shape_of(tensor, sizes), TORCH[tensor.datatype])


def test_what_a_request_may_leave_out():
    defaults = {tensor.name: tensor.default for tensor in describe_architecture(Architecture(cell="lstm")).inputs}
    assert defaults == {
        "input": manifest_pb2.DEFAULT_REQUIRED,
        "lengths": manifest_pb2.DEFAULT_FULL_LENGTH,
        "h_0": manifest_pb2.DEFAULT_ZEROS,
        "c_0": manifest_pb2.DEFAULT_ZEROS,
    }


def test_where_the_batch_axis_is():
    model = describe_architecture(Architecture(cell="lstm"))
    assert {tensor.name: axis_of(tensor, "batch") for tensor in (*model.inputs, *model.outputs)} == {
        "input": 0, "lengths": 0, "h_0": 1, "c_0": 1, "logits": 0, "output": 0, "h_n": 1, "c_n": 1,
    }  # fmt: skip


def test_samples_are_walks_of_seven_lengths_half_of_them_ragged():
    samples = describe_architecture(Architecture(cell="lstm")).samples
    assert [sample["input"].shape for sample in samples] == [(64, size, 2) for size in (2, 3, 4, 8, 16, 32, 64)]
    for sample in samples:
        size = sample["input"].shape[1]
        assert (sample["lengths"][:32] == size).all()
        assert sample["lengths"].min() >= 1
        assert not sample["h_0"].any()
        assert not sample["c_0"].any()
    assert len(set(samples[-1]["lengths"][32:].tolist())) > 2
    assert np.abs(samples[-1]["input"]).max() <= 2


def test_a_classifier_of_other_features_has_no_walks():
    assert list(describe_architecture(Architecture(features=3)).samples) == []


@pytest.mark.parametrize(("options", "shown"), [({}, True), ({"progress": False}, False)])
def test_a_bar_is_shown_unless_it_is_not_wanted(monkeypatch, tmp_path, options, shown):
    seen = []
    monkeypatch.setattr(classifiers, "publish", lambda *_, progress, **__: seen.append(progress))
    classifier = DirectionClassifier.of(Architecture(hidden=3))
    classifiers.export_checkpoint(Checkpoint("small", classifier, LABELS, "0" * 64, None), tmp_path, **options)
    assert seen == [shown]
