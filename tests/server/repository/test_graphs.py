"""A version with two graphs: which one is loaded, what is proven of it, and what of it keeps the version out."""

import json

import numpy as np
import pytest
from onnx import TensorProto, helper

from kit.artifacts import build_model, tensor
from kit.bad_versions import INPUTS, OUTPUTS, SAMPLE, TWICE, publish_bytes, publish_good
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import GOLDEN, MANIFEST, MODEL, SCAN, ArtifactError, dump_manifest, read_version
from rnnserve.server import trial
from rnnserve.server.repository import load_version as loading
from rnnserve.server.repository import providers, trial_worker
from rnnserve.server.repository.graph_choice import AUTO, NATIVE, SCANNED, GraphChoice
from rnnserve.server.repository.load_version import load_model, try_version
from rnnserve.server.repository.loader import Loader
from rnnserve.server.repository.repository import Repository
from rnnserve.server.repository.trials import Trials

TWO = {"two": np.array(2, np.float32)}
MULTIPLIED = build_model([helper.make_node("Mul", ["input", "two"], ["output"])], INPUTS, OUTPUTS, TWO)
"""The same as `TWICE` by another operator, which tells the two apart."""


@pytest.fixture
def folder(tmp_path):
    publish_bytes(tmp_path, "m", {SCAN: MULTIPLIED})
    return tmp_path / "m" / "1"


def tried(folder, **options):
    return try_version(folder, "m", "1", "cpu", **options)


def operators(model):
    return [name for names in model.nodes.values() for name in names]


@pytest.mark.parametrize(
    ("file", "name", "operator", "reason"),
    [
        (SCAN, SCANNED, "Mul", "since it was decided so"),
        (MODEL, NATIVE, "Add", "since it was decided so"),
        ("", NATIVE, "Add", "since model.onnx has no RNN operator"),
    ],
    ids=["scan", "native", "not said"],
)
def test_what_the_manifest_says_is_loaded_else_the_rule_decides(tmp_path, file, name, operator, reason):
    folder = publish_bytes(tmp_path, "m", {SCAN: MULTIPLIED}, graph=file)
    findings = tried(folder)
    assert findings.graph == GraphChoice(name, reason)
    for known in (findings, None):
        model = load_model(folder, "m", "1", "cpu", known=known)
        assert model.graph == findings.graph
        assert operators(model) == [operator]
        (output,) = model.run_arrays(["output"], SAMPLE)
        np.testing.assert_array_equal(output, 2 * SAMPLE["input"])


def test_a_manifest_that_names_another_file_keeps_the_version_out(tmp_path):
    folder = publish_bytes(tmp_path, "m", {SCAN: MULTIPLIED}, graph=GOLDEN)
    with pytest.raises(ArtifactError, match=r'^manifest\.json: lets "golden\.npz" serve, which is no graph'):
        tried(folder)


@pytest.mark.parametrize(("asked", "operator"), [(NATIVE, "Add"), (SCANNED, "Mul")])
def test_what_is_asked_for_is_loaded(folder, asked, operator):
    findings = tried(folder, graph=asked)
    assert operators(load_model(folder, "m", "1", "cpu", known=findings)) == [operator]


@pytest.mark.parametrize("asked", [AUTO, SCANNED])
def test_a_version_without_the_file_serves_on_native_and_says_so(tmp_path, asked):
    publish_good(tmp_path, "m")
    graph = tried(tmp_path / "m" / "1", graph=asked).graph
    assert graph == GraphChoice(NATIVE, "since it has no model.scan.onnx")


def test_cuda_has_native(folder, monkeypatch):
    monkeypatch.setattr(loading, "session_of", lambda files, file, *_: providers.session_of(files, file, "cpu", 1))
    manifest = manifest_pb2.Manifest()
    manifest.CopyFrom(read_version(folder).manifest)
    manifest.replay_limits[0].device = "cuda"
    (folder / MANIFEST).write_bytes(dump_manifest(manifest))
    for asked in (AUTO, SCANNED):
        graph = try_version(folder, "m", "1", "cuda", graph=asked).graph
        assert (graph.name, graph.reason) == (NATIVE, "since it runs on CUDA, and scan is for the CPU")


def scaled_by_rows():
    """Twice the input, but for the last bits, which depend on the number of rows."""
    constants: dict[str, np.ndarray] = {**TWO, "little": np.array(2.4e-7, np.float32), "none": np.array([], np.int64)}
    nodes = [
        helper.make_node("Shape", ["input"], ["rows_"], start=0, end=1),
        helper.make_node("Reshape", ["rows_", "none"], ["rows"]),
        helper.make_node("Cast", ["rows"], ["count"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["count", "little"], ["more"]),
        helper.make_node("Add", ["two", "more"], ["factor"]),
        helper.make_node("Mul", ["input", "factor"], ["output"]),
    ]
    return build_model(nodes, INPUTS, OUTPUTS, constants)


@pytest.mark.parametrize(
    ("native", "scan", "better"),
    [(TWICE, scaled_by_rows(), NATIVE), (scaled_by_rows(), scaled_by_rows(), None), (TWICE, MULTIPLIED, None)],
    ids=["native keeps them", "neither keeps them", "both keep them"],
)
def test_the_trial_tells_where_the_other_graph_keeps_more_bits(tmp_path, capsys, monkeypatch, native, scan, better):
    limited = []  # not this process, for all tests after this one
    monkeypatch.setattr(trial_worker, "limit_memory", limited.append)
    monkeypatch.setattr(trial_worker, "limit_processor_seconds", limited.append)
    folder = publish_bytes(tmp_path, "m", {MODEL: native, SCAN: scan})
    assert trial.main([str(folder)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["serves"], said["graph"], said.get("better")) == (True, SCANNED, better)
    assert len(limited) >= 2


ROWS = [tensor("output", "FP32", "rows", "sequence", ("features", 2))]


@pytest.mark.parametrize(
    ("scan", "said"),
    [
        (b"no model", "model.scan.onnx: onnxruntime cannot load it: "),
        (TWICE[: len(TWICE) // 2], "model.scan.onnx: onnxruntime cannot load it: "),
        (
            build_model([helper.make_node("Identity", ["input"], ["output"])], INPUTS, OUTPUTS, {}),
            "golden.npz: model.scan.onnx does not give these results on cpu: case 0",
        ),
        (
            build_model([helper.make_node("Add", ["input", "input"], ["output"])], INPUTS, ROWS, {}),
            r'manifest.json: describes "output" FP32 \(batch, sequence, features=2\), but in model.scan.onnx it is ',
        ),
    ],
    ids=["garbage", "truncated", "other values", "other axes"],
)
def test_a_graph_that_does_not_hold_keeps_the_version_out(tmp_path, scan, said):
    publish_bytes(tmp_path, "m", {SCAN: scan})
    folder = tmp_path / "m" / "1"
    for asked in (AUTO, SCANNED):
        with pytest.raises(ArtifactError, match=f"^{said}"):
            tried(folder, graph=asked)
    assert tried(folder, graph=NATIVE).graph.name == NATIVE


@pytest.mark.parametrize("asked", [AUTO, NATIVE, SCANNED])
def test_a_file_that_was_changed_keeps_the_version_out_whatever_serves(folder, asked):
    path = folder / SCAN
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(ArtifactError, match=r"^model\.scan\.onnx: is not the file that was published"):
        tried(folder, graph=asked)


def test_a_version_that_was_changed_since_it_was_tried_is_not_loaded(folder):
    findings = tried(folder)
    manifest = read_version(folder).manifest
    manifest.labels.append("more")
    (folder / MANIFEST).write_bytes(dump_manifest(manifest))
    with pytest.raises(ArtifactError, match="has changed since the version was tried"):
        load_model(folder, "m", "1", "cpu", known=findings)


def loaded(root, graph):
    models = Repository(root)
    trials = Trials()
    Loader(models, trials, "cpu", allow_unproven=False, timeout=60.0, graph=graph).load()
    return models


@pytest.mark.parametrize(
    ("asked", "name", "logged"),
    [
        (
            SCANNED,
            SCANNED,
            [
                ("WARNING", "one version 1: --graph scan: graph native, since it has no model.scan.onnx"),
                ("INFO", "two version 1: graph scan, since --graph scan asks for it"),
            ],
        ),
        (NATIVE, NATIVE, []),
        (AUTO, SCANNED, [("INFO", "two version 1: graph scan, since it was decided so")]),
    ],
)
def test_the_loader_asks_the_process_that_tries_and_logs(tmp_path, caplog, asked, name, logged):
    publish_bytes(tmp_path, "two", {SCAN: MULTIPLIED})
    publish_good(tmp_path, "one")
    with caplog.at_level("INFO"):
        models = loaded(tmp_path, asked)
    assert (models.find("two").model.graph.name, models.find("one").model.graph.name) == (name, NATIVE)
    assert [(r.levelname, r.getMessage()) for r in caplog.records if "graph" in r.getMessage()] == logged
