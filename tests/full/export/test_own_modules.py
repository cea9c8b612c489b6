"""Modules that are no classifiers, from the call that publishes them to `verify`."""

import dataclasses
import functools

import pytest
import torch

from kit.own_modules import own_module, publication_of
from rnnserve.export import Floats, Publication, WrongArguments
from rnnserve.export.pipeline import publish
from rnnserve.export.verify import verify_version
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import GOLDEN, MODEL, SCRIPT
from rnnserve.protos.triton_config import read_config

PADDED, JOINED, ALONE = manifest_pb2.BATCHING_PADDED, manifest_pb2.BATCHING_JOINED, manifest_pb2.BATCHING_ALONE

MODES = {
    "sentiment": PADDED,
    "step_tagger": PADDED,
    "mean": JOINED,
    "policy": JOINED,
    "over_the_batch": ALONE,
    "seq2seq": JOINED,
    "alarm": PADDED,
    "double": JOINED,
}

AXES = {
    "sentiment": {"logits": {"batch": -1, "classes": 2}, "h_n": {"layers * directions": 4, "batch": -1, "hidden": 32}},
    "step_tagger": {"scores": {"sequence": -1, "batch": -1, "axis 2": 4}, "tags": {"sequence": -1, "batch": -1}},
    "mean": {"y": {"batch": -1, "axis 1": 2}},
    "policy": {"logits": {"batch": -1, "classes": 2}, "h_next": {"batch": -1, "hidden": 16}},
    "over_the_batch": {"y": {"batch": -1, "axis 1": 6}},
    "seq2seq": {"logits": {"batch": -1, "target": -1, "axis 2": 12}},
    "alarm": {
        "output": {"batch": -1, "sequence": -1, "axis 2": 5},
        "high": {"batch": -1},
        "score": {"batch": -1},
        "h_n": {"batch": -1, "axis 1": 5},
    },
    "double": {"output": {"batch": -1, "sequence": -1, "axis 2": 5}},
}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """`published(name)`: what publishing that module gave. Each is published once, in training mode."""
    repository = tmp_path_factory.mktemp("own")

    @functools.cache
    def publish_once(name):
        publication = publication_of(name)
        publication.module.train()
        return publish(publication, repository=repository, progress=False)

    return publish_once


@pytest.mark.parametrize("name", MODES)
def test_own_module_is_published_and_verified(published, name):
    done = published(name)
    assert done.published.new
    checks = verify_version(done.published.folder, progress=False)
    assert [check for check in checks if check.failures] == []
    assert any(check.name.startswith("parity") for check in checks)


@pytest.mark.parametrize("name", MODES)
def test_batching_mode_and_axes_are_recorded(published, name):
    manifest = published(name).manifest
    assert manifest.batching.mode == MODES[name]
    assert {t.name: {axis.name: axis.size for axis in t.axes} for t in manifest.outputs} == AXES[name]
    assert bool(manifest.batching.reasons) == (MODES[name] != PADDED)


def test_batching_reasons_name_the_tensor_and_the_likely_mistake(published):
    reasons = list(published("mean").manifest.batching.reasons)
    assert len(reasons) == 3
    assert all(reason.startswith('"y" of a row changes by ') for reason in reasons[:2])
    assert "such as a mean, a maximum or a convolution? Mask it with the lengths" in reasons[0]
    assert "9 steps of padding" in reasons[1]
    assert reasons[2] == (
        'in the graph, "y": ReduceMean "node_mean" averages over all steps of "sequence", padding included'
    )
    (reason,) = published("over_the_batch").manifest.batching.reasons
    assert reason == (
        '"y": ReduceMean "node_mean" averages over the rows of the batch, so a row\'s result depends on other rows'
    )
    (reason,) = published("seq2seq").manifest.batching.reasons
    assert reason.startswith('no input holds the lengths of the axis "target"')


def test_exact_results_are_those_of_float64(published):
    assert published("sentiment").manifest.parity.exact == "float64"
    assert published("double").manifest.parity.exact == "float64"
    assert [tensor.datatype for tensor in published("double").manifest.outputs] == ["FP64"]


def test_loop_over_steps_has_no_script_and_a_recorded_reason(published):
    done = published("scanned")
    assert done.unscripted.startswith("TorchScript cannot compile ScannedCell: function definitions")
    assert SCRIPT not in {file.name for file in done.manifest.files}
    assert not published("sentiment").unscripted


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # torch.compile itself uses it
@pytest.mark.parametrize("wrap", [torch.nn.DataParallel, torch.compile])
def test_wrapped_module_is_published_as_the_inner_module(published, tmp_path, wrap):
    publication = publication_of("policy")
    wrapped = dataclasses.replace(publication, module=wrap(publication.module))
    done = publish(wrapped, repository=tmp_path, progress=False)
    inside, found = (
        {file.name: file.sha256 for file in m.files} for m in (published("policy").manifest, done.manifest)
    )
    assert (found[MODEL], found[GOLDEN]) == (inside[MODEL], inside[GOLDEN])  # torch.compile leaves a mark in model.pt
    assert done.manifest.parity == published("policy").manifest.parity


class _WithoutAnnotation(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = torch.nn.GRU(2, 5, batch_first=True)

    def forward(self, x, h=None):
        return self.gru(x, h)[0]


def test_script_that_does_not_run_is_omitted_with_advice(tmp_path):
    inputs = {"x": Floats("batch", "sequence", 2)}
    publication = Publication(own_module(_WithoutAnnotation), "plain", inputs, ["y"], sizes={"sequence": (1, 8)})
    done = publish(publication, repository=tmp_path, progress=False)
    assert "annotate it: h: torch.Tensor | None = None" in done.unscripted
    assert sorted(path.name for path in done.published.folder.iterdir()) == [
        "golden.npz",
        "manifest.json",
        "model.onnx",
        "model.parts.onnx",
    ]


def test_triton_keeps_states_of_single_steps_and_others_only_on_request(published, tmp_path):
    folder = published("policy").published.folder.parent
    assert [state.output_name for state in read_config(folder).sequence_batching.state] == ["h_next"]
    folder = published("sentiment").published.folder.parent
    assert not read_config(folder).sequence_batching.state
    publication = dataclasses.replace(publication_of("mean"), sequences=True)
    with pytest.raises(WrongArguments, match="has no declared states to keep"):
        publish(publication, repository=tmp_path, progress=False)
