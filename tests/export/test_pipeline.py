"""From a checkpoint to a version: its files name nothing of the machine, and only verified graphs are published."""

import io
import json
import platform
import re
import zipfile

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from kit.machine_words import machine_words
from rnnserve.export import ExportError, pipeline
from rnnserve.export.classifiers import classifier_publication
from rnnserve.export.parity import ParityError
from rnnserve.export.parity.verification import Verification
from rnnserve.export.pipeline import publish
from rnnserve.models import LABELS, load_checkpoint
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import GOLDEN, MANIFEST, MODEL, SCAN, SCRIPT, ArtifactError, read_version
from rnnserve.protos.triton_config import CONFIG


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def export(checkpoint, repository):
    return publish(classifier_publication(load_checkpoint(checkpoint)), repository=repository, progress=False)


@pytest.fixture
def exports_nothing(monkeypatch):
    monkeypatch.setattr(pipeline, "to_onnx", lambda _: pytest.fail("nothing is to be exported"))


def test_manifest_describes_the_version(exported, checkpoint):
    repository, done = exported
    folder = repository / checkpoint.name / "1"
    assert done.published.folder == folder
    assert sorted(contents(folder)) == [GOLDEN, MANIFEST, MODEL, SCRIPT, SCAN]
    assert (folder / GOLDEN).stat().st_size < 500_000
    assert sorted(path.name for path in folder.parent.iterdir()) == ["1", CONFIG]
    manifest = read_version(folder).manifest
    assert (manifest.model, manifest.format, list(manifest.labels)) == (checkpoint.name, 2, list(LABELS))
    assert (manifest.batching.mode, list(manifest.batching.reasons)) == (manifest_pb2.BATCHING_PADDED, [])
    findings = [getattr(manifest.batching, name) for name in ("rows", "padding", "scan_rows", "scan_padding")]
    assert [finding.means for finding in findings] == [manifest_pb2.MEANS_PROVEN] * 4
    assert manifest.origin == manifest_pb2.ORIGIN_EXPORTED
    assert manifest.checkpoint_sha256 == load_checkpoint(checkpoint).sha256
    assert [file.name for file in manifest.files] == [GOLDEN, MODEL, SCRIPT, SCAN]
    assert {at.device for at in manifest.replay_limits} == {"cpu", "cuda"}
    assert (manifest.parity.exact, manifest.parity.samples > 1000) == ("float64", True)
    assert list(manifest.scan_parity.checks) == [line for line in manifest.parity.checks if "torchscript" not in line]
    assert manifest.scan_parity.samples == manifest.parity.samples
    assert manifest.scan_parity.distances != manifest.parity.distances
    assert {distance.input for distance in manifest.parity.distances} == {"step", "sample", "random"}
    assert manifest.versions.keys() == {"numpy", "onnx", "onnxruntime", "onnxscript", "python", "rnnserve", "torch"}
    assert manifest.versions["torch"] == torch.__version__
    assert manifest.versions["python"] == platform.python_version()
    assert manifest.versions["onnxruntime"] == onnxruntime.__version__
    document = json.loads((folder / MANIFEST).read_text())
    assert [tensor["name"] for tensor in document["inputs"]] == ["input", "lengths", "h_0"]
    assert document["inputs"][1]["lengths_of"] == "sequence"
    assert document["batching"]["mode"] == "BATCHING_PADDED"


SOURCE_FILE = re.compile(rb"[A-Za-z_]{4,}\.py\b")  # only a stack trace names one


def test_files_do_not_contain_names_of_the_machine(exported, checkpoint):
    secrets = machine_words(exported[0], checkpoint, checkpoint.parent)
    for name, data in contents(exported[1].published.folder).items():
        pieces = [data]
        if zipfile.is_zipfile(io.BytesIO(data)):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                for info in archive.infolist():
                    assert info.date_time[0] == 1980, f"{info.filename} in {name} tells when it was written"
                    pieces.append(info.filename.encode() + b"\0" + archive.read(info))
        for piece in pieces:
            assert not [secret for secret in secrets if secret in piece], name
            assert name == SCRIPT or not SOURCE_FILE.search(piece), name  # TorchScript's code lies in .py files


def test_exporting_again_publishes_nothing_new(checkpoint, repository):
    config = repository / checkpoint.name / CONFIG
    config.write_text(config.read_text().replace("num_versions: 1", "num_versions: 2"))
    before = contents(repository / checkpoint.name / "1"), config.read_text()
    done = export(checkpoint, repository)
    assert (done.published.version, done.published.new) == (1, False)
    assert (contents(repository / checkpoint.name / "1"), config.read_text()) == before


def spoilt(model):
    """A graph with one weight of the head a thousandth off."""
    graph = onnx.load_model_from_string(model)
    head = next(tensor for tensor in graph.graph.initializer if list(tensor.dims) == [2])
    head.raw_data = (onnx.numpy_helper.to_array(head) + np.float32(1e-3)).tobytes()
    return graph.SerializeToString()


@pytest.fixture
def exports_wrong_graph(exported, monkeypatch):
    wrong = spoilt((exported[1].published.folder / MODEL).read_bytes())
    monkeypatch.setattr(pipeline, "to_onnx", lambda _: wrong)


@pytest.mark.usefixtures("exports_wrong_graph")
def test_graph_that_fails_parity_is_not_published(checkpoint, tmp_path):
    with pytest.raises(ParityError, match="logits"):
        export(checkpoint, tmp_path / "repository")
    assert not (tmp_path / "repository").exists()


@pytest.mark.usefixtures("exports_wrong_graph")
def test_graph_that_fails_only_golden_tests_is_not_published(checkpoint, tmp_path, monkeypatch):
    unproven = Verification(manifest_pb2.Parity(), manifest_pb2.Batching(), ())
    monkeypatch.setattr(pipeline, "verify_parity", lambda *_, **__: unproven)
    with pytest.raises(ExportError, match="the golden results, so nothing was published: case 0, step"):
        export(checkpoint, tmp_path / "repository")
    assert not (tmp_path / "repository").exists()


@pytest.mark.usefixtures("exports_nothing")
def test_config_that_does_not_fit_stops_the_export_at_once(checkpoint, repository):
    path = repository / checkpoint.name / CONFIG
    path.write_text(path.read_text().replace('"logits"', '"scores"'))
    with pytest.raises(ArtifactError, match=f"^{CONFIG}: the outputs do not match"):
        export(checkpoint, repository)
