"""From a checkpoint to a version: the same bytes on every machine, nothing of the machine in them, nothing unproven."""

import contextlib
import getpass
import io
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from kit.descriptions import describe_classifier
from kit.machine_words import machine_words
from rnnserve.export import ExportError, pipeline
from rnnserve.export.classifiers import export_checkpoint
from rnnserve.export.golden_cases import make_cases
from rnnserve.export.model_onnx import to_onnx
from rnnserve.export.parity import OnnxRunner, ParityError
from rnnserve.export.parity.proof import Proof, reference_of
from rnnserve.export.parity.tolerances import replay_limits
from rnnserve.export.torch_threads import one_thread
from rnnserve.models import LABELS, Architecture, DirectionClassifier, load_checkpoint, save_checkpoint
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import GOLDEN, MANIFEST, MODEL, SCAN, SCRIPT, ArtifactError, read_version
from rnnserve.protos.golden import dump_cases, load_cases, replay
from rnnserve.protos.triton_config import CONFIG
from rnnserve.server.repository.load_version import load_model

FILES = [GOLDEN, MANIFEST, MODEL, SCRIPT, SCAN]

ELSEWHERE = """
import sys
from pathlib import Path
import torch
from rnnserve.export.classifiers import export_checkpoint
torch.set_num_threads(3)
torch.manual_seed(99)
export_checkpoint(Path(sys.argv[1]), Path(sys.argv[2]), progress=False)
"""


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def export(checkpoint, repository):
    return export_checkpoint(checkpoint, repository, progress=False)


def test_a_version_has_five_files_and_its_model_a_config(exported, checkpoint):
    repository, done = exported
    assert done.published.folder == repository / checkpoint.name / "1"
    assert sorted(contents(done.published.folder)) == FILES
    assert sorted(path.name for path in (repository / checkpoint.name).iterdir()) == ["1", CONFIG]


def test_the_server_takes_it(exported):
    folder = exported[1].published.folder
    model = load_model(folder, folder.parent.name, "1", "cpu")
    assert [spec.optional for spec in model.signature.inputs.values()] == [False, True, True]


def test_exporting_again_publishes_nothing_new(checkpoint, repository):
    before = contents(repository / checkpoint.name / "1")
    done = export(checkpoint, repository)
    assert (done.published.version, done.published.new) == (1, False)
    assert contents(repository / checkpoint.name / "1") == before
    assert sorted(path.name for path in (repository / checkpoint.name).iterdir()) == ["1", CONFIG]


def test_another_checkpoint_of_the_name_is_the_next_version(checkpoint, repository, tmp_path):
    with torch.random.fork_rng(devices=[]):
        classifier = DirectionClassifier.of(Architecture(hidden=4))
    save_checkpoint(tmp_path / "retrained", classifier, name=checkpoint.name, labels=LABELS)
    assert export(tmp_path / "retrained", repository).published.version == 2


def test_another_process_and_folder_give_the_same_bytes(exported, checkpoint, tmp_path):
    moved = Path(shutil.copytree(checkpoint, tmp_path / "ein anderer Ort" / "c"))
    environment = {**os.environ, "PYTHONHASHSEED": "5", "HOME": str(tmp_path), "TZ": "Asia/Tokyo"}
    subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(moved), str(tmp_path / "repository")],
        check=True,
        cwd=tmp_path,
        env=environment,
    )
    again = contents(tmp_path / "repository" / checkpoint.name / "1")
    assert again.keys() == set(FILES)
    for name, data in contents(exported[1].published.folder).items():
        assert again[name] == data, f"{name} differs"


SOURCE_FILE = re.compile(rb"[A-Za-z_]{4,}\.py\b")


def secrets_in(data, secrets, *, sources=True):
    """The `secrets` that stand in `data`, and the names of Python files, which only stack traces bring in."""
    found = {secret for secret in secrets if secret in data}
    return found | set(SOURCE_FILE.findall(data) if sources else ())


def test_a_secret_is_found_and_a_short_word_is_none(monkeypatch, tmp_path):
    monkeypatch.setattr(socket, "gethostname", lambda: "vm")
    monkeypatch.setattr(getpass, "getuser", lambda: "rnnserve")
    secrets = machine_words(tmp_path)
    assert not {b"vm", b"rnnserve"} & secrets
    trace = str(tmp_path).encode() + b"/module.py, line 3"
    assert secrets_in(b"\x00" + trace + b"\xff", secrets) >= {str(tmp_path).encode(), b"module.py"}
    assert secrets_in(b"\x00.pyvm\xff", secrets) == set()


def test_nothing_tells_of_the_machine(exported, checkpoint):
    secrets = machine_words(exported[0], checkpoint, checkpoint.parent)
    for name, data in contents(exported[1].published.folder).items():
        pieces = {name: data}
        if zipfile.is_zipfile(io.BytesIO(data)):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                for info in archive.infolist():
                    assert info.date_time[0] == 1980, f"{info.filename} in {name} tells when it was written"
                    pieces[f"{info.filename} in {name}"] = info.filename.encode() + b"\0" + archive.read(info)
        for where, piece in pieces.items():  # TorchScript's code lies in .py files
            assert secrets_in(piece, secrets, sources=name != SCRIPT) == set(), f"in {where}"


def test_the_manifest_describes_the_version(exported, checkpoint):
    manifest = read_version(exported[1].published.folder).manifest
    assert manifest.model == checkpoint.name
    assert list(manifest.labels) == list(LABELS)
    assert manifest.format == 2
    assert not manifest.HasField("architecture")
    assert (manifest.batching.mode, list(manifest.batching.reasons)) == (manifest_pb2.BATCHING_PADDED, [])
    findings = [getattr(manifest.batching, name) for name in ("rows", "padding", "scan_rows", "scan_padding")]
    assert [finding.means for finding in findings] == [manifest_pb2.MEANS_PROVEN] * 4
    assert manifest.parity.exact == "float64"
    assert manifest.origin == manifest_pb2.ORIGIN_EXPORTED
    assert manifest.checkpoint_sha256 == load_checkpoint(checkpoint).sha256
    assert [file.name for file in manifest.files] == [GOLDEN, MODEL, SCRIPT, SCAN]
    assert {at.device for at in manifest.replay_limits} == {"cpu", "cuda"}
    assert manifest.parity.samples > 1000
    assert list(manifest.scan_parity.checks) == [line for line in manifest.parity.checks if "torchscript" not in line]
    assert manifest.scan_parity.samples == manifest.parity.samples
    assert manifest.scan_parity.distances != manifest.parity.distances
    assert {distance.input for distance in manifest.parity.distances} == {"step", "sample", "random"}
    assert manifest.versions["torch"] == torch.__version__
    assert manifest.versions["python"] == platform.python_version()
    assert manifest.versions.keys() == {"numpy", "onnx", "onnxruntime", "onnxscript", "python", "rnnserve", "torch"}
    assert manifest.versions["onnxruntime"] == onnxruntime.__version__


def test_the_manifest_reads_as_json(exported):
    manifest = json.loads((exported[1].published.folder / MANIFEST).read_text())
    assert [tensor["name"] for tensor in manifest["inputs"]] == ["input", "lengths", "h_0"]
    assert manifest["inputs"][1]["lengths_of"] == "sequence"
    proven = {name: {"means": "MEANS_PROVEN"} for name in ("rows", "padding", "scan_rows", "scan_padding")}
    assert manifest["batching"] == {"mode": "BATCHING_PADDED", **proven}


def test_golden_cases_are_of_all_kinds_and_many_sizes(exported):
    data = (exported[1].published.folder / GOLDEN).read_bytes()
    cases = load_cases(data)
    assert {case.kind for case in cases} == {"step", "sample", "random"}
    assert {1, 2, 5} <= {len(case.inputs["lengths"]) for case in cases}
    lengths = np.concatenate([case.inputs["lengths"] for case in cases])
    assert (lengths.min(), lengths.max()) == (1, 64)
    assert any(len(set(case.inputs["lengths"])) > 2 for case in cases)
    assert any(np.abs(case.inputs["h_0"]).min() > 0 for case in cases if case.kind == "random")
    for case in cases:
        assert list(case.inputs) == ["input", "lengths", "h_0"]
        assert list(case.eager) == list(case.float64) == ["logits", "output", "h_n"]
        assert {array.dtype for array in case.eager.values()} == {np.dtype(np.float32)}
        assert {array.dtype for array in case.float64.values()} == {np.dtype(np.float64)}


@pytest.mark.parametrize("architecture", [Architecture(bidirectional=True), Architecture(num_layers=2)])
def test_golden_cases_are_small(architecture):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        classifier = DirectionClassifier.of(architecture).eval()
    model = describe_classifier(classifier)
    runner = OnnxRunner(to_onnx(model))
    with one_thread():
        cases = make_cases(model, reference_of(model), runner).cases
    assert len(dump_cases(cases)) < 500_000
    assert replay(cases, runner, replay_limits()[0]) == []


def test_a_wrong_graph_is_refused_and_nothing_is_published(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "to_onnx", lambda classifier: spoilt(to_onnx(classifier)))
    with pytest.raises(ParityError, match="logits"):
        export(checkpoint, tmp_path / "repository")
    assert not (tmp_path / "repository").exists()


@pytest.mark.parametrize("name", ["../up", ".hidden", "-x", "a b"])
def test_a_name_that_no_model_may_have_is_refused_at_once(tmp_path, monkeypatch, name):
    with torch.random.fork_rng(devices=[]):
        classifier = DirectionClassifier.of(Architecture(hidden=4))
    save_checkpoint(tmp_path / "checkpoint", classifier, name=name, labels=LABELS)
    monkeypatch.setattr(pipeline, "to_onnx", lambda _: pytest.fail("nothing is to be exported"))
    with pytest.raises(ExportError, match=r"^the name .* cannot be a model's folder: use letters"):
        export(tmp_path / "checkpoint", tmp_path / "repository")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_golden_results_are_a_gate_of_their_own(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "to_onnx", lambda classifier: spoilt(to_onnx(classifier)))
    unproven = Proof(manifest_pb2.Parity(), manifest_pb2.Batching(), ())
    monkeypatch.setattr(pipeline, "prove", lambda *_, **__: unproven)
    with pytest.raises(ExportError, match="does not give the golden results, so nothing is published: case 0, step"):
        export(checkpoint, tmp_path / "repository")
    assert not (tmp_path / "repository").exists()


def spoilt(model):
    """A graph with one weight of the head a thousandth off."""
    graph = onnx.load_model_from_string(model)
    head = next(tensor for tensor in graph.graph.initializer if list(tensor.dims) == [2])
    head.raw_data = (onnx.numpy_helper.to_array(head) + np.float32(1e-3)).tobytes()
    return graph.SerializeToString()


def test_a_config_that_does_not_fit_stops_the_export_at_once(checkpoint, repository, monkeypatch):
    path = repository / checkpoint.name / CONFIG
    path.write_text(path.read_text().replace('"logits"', '"scores"'))
    monkeypatch.setattr(pipeline, "to_onnx", lambda _: pytest.fail("nothing is to be exported"))
    with pytest.raises(ArtifactError, match=f"^{CONFIG}: its outputs do not fit"):
        export(checkpoint, repository)


def test_an_edited_config_survives(checkpoint, repository, tmp_path):
    path = repository / checkpoint.name / CONFIG
    path.write_text(path.read_text().replace("num_versions: 1", "num_versions: 2"))
    edited = path.read_text()
    export(checkpoint, repository)
    assert path.read_text() == edited


def test_torch_has_its_threads_back(checkpoint, tmp_path, monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        monkeypatch.setattr(pipeline, "script_model", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            export(checkpoint, tmp_path)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_bar_shows_the_stage_and_how_many_are_done(checkpoint, tmp_path, monkeypatch):
    bars = []

    class Bar(contextlib.nullcontext):
        def __init__(self, *, total, disable, **_):
            super().__init__(self)
            self.seen, self.done, self.total, self.disable = [], 0, total, disable
            bars.append(self)

        def update(self, count):
            self.done += count

        def set_description(self, stage):
            self.seen.append((self.done, stage))

    def stop(_):
        raise ExportError("stop")

    monkeypatch.setattr(pipeline, "tqdm", Bar)
    monkeypatch.setattr(pipeline, "script_model", stop)
    monkeypatch.setattr(pipeline, "to_onnx", lambda _: b"")
    with pytest.raises(ExportError, match=r"^stop$"):
        export(checkpoint, tmp_path / "repository")
    (bar,) = bars
    assert bar.disable
    assert bar.seen == list(enumerate(pipeline._STAGES[:3]))
    assert bar.total == len(pipeline._STAGES)
