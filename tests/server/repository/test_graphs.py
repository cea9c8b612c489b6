"""A version with two graphs: which one is loaded, what is proven of it, and what of it keeps the version out."""

import json

import numpy as np
import pytest
from onnx import TensorProto, helper

from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import MANIFEST, SCAN, ArtifactError, dump_manifest, read_version
from rnnserve.server.repository import load_version as loading
from rnnserve.server.repository import providers
from rnnserve.server.repository.decided_graphs import DecidedGraphs
from rnnserve.server.repository.graph_choice import AUTO, NATIVE, SCANNED
from rnnserve.server.repository.load_order import Loader
from rnnserve.server.repository.load_version import load_model, try_version
from rnnserve.server.repository.repository import Repository
from rnnserve.server.repository.trials import Trials
from support.artifacts import build_model, tensor
from support.bad_versions import INPUTS, OUTPUTS, SAMPLE, TWICE, publish_bytes, publish_good

TWO = {"two": np.array(2, np.float32)}
MULTIPLIED = build_model([helper.make_node("Mul", ["input", "two"], ["output"])], INPUTS, OUTPUTS, TWO)
"""The same as `TWICE` by another operator, which tells the two apart."""

FAST, SLOW = ({"native": {"2x1": cost}, "scan": {"2x1": 1.0}} for cost in (2.0, 0.5))
"""Costs by which scan is twice, and half, as fast as native."""


@pytest.fixture
def costs(monkeypatch):
    """`costs(found)`: what is measured from now on."""

    def find(found):
        monkeypatch.setattr(loading, "measure_graphs", lambda *_: found)

    return find


@pytest.fixture
def folder(tmp_path):
    publish_bytes(tmp_path, "m", {SCAN: MULTIPLIED})
    return tmp_path / "m" / "1"


def tried(folder, **options):
    return try_version(folder, "m", "1", "cpu", **options)


def operators(model):
    return [name for names in model.nodes.values() for name in names]


@pytest.mark.parametrize(("found", "name", "operator"), [(FAST, SCANNED, "Mul"), (SLOW, NATIVE, "Add")])
def test_the_faster_one_is_chosen_and_loaded(folder, costs, found, name, operator):
    costs(found)
    findings = tried(folder)
    assert (findings.graph.name, findings.graph.microseconds) == (name, found)
    for known in (findings, None):
        model = load_model(folder, "m", "1", "cpu", known=known)
        assert model.graph == findings.graph
        assert operators(model) == [operator]
        (output,) = model.run_arrays(["output"], SAMPLE)
        np.testing.assert_array_equal(output, 2 * SAMPLE["input"])


def test_both_are_measured_for_real(folder):
    found = tried(folder).graph.microseconds
    assert list(found) == ["native", "scan"]
    assert all(cost > 0 for by_size in found.values() for cost in by_size.values())


@pytest.mark.parametrize(("asked", "operator"), [(NATIVE, "Add"), (SCANNED, "Mul")])
def test_what_is_asked_for_is_loaded(folder, monkeypatch, asked, operator):
    monkeypatch.setattr(loading, "measure_graphs", lambda *_: pytest.fail("nothing is to be measured"))
    findings = tried(folder, graph=asked)
    assert operators(load_model(folder, "m", "1", "cpu", known=findings)) == [operator]


@pytest.mark.parametrize("asked", [AUTO, SCANNED])
def test_a_version_without_the_file_serves_on_native_and_says_so(tmp_path, asked):
    publish_good(tmp_path, "m")
    graph = tried(tmp_path / "m" / "1", graph=asked).graph
    assert (graph.name, graph.reason, graph.microseconds) == (NATIVE, "since it has no model.scan.onnx", {})


def test_cuda_has_native(folder, monkeypatch):
    monkeypatch.setattr(loading, "new_session", lambda model, *_: providers.new_session(model, "cpu"))
    manifest = manifest_pb2.Manifest()
    manifest.CopyFrom(read_version(folder).manifest)
    manifest.replay_limits[0].device = "cuda"
    (folder / MANIFEST).write_bytes(dump_manifest(manifest))
    for asked in (AUTO, SCANNED):
        graph = try_version(folder, "m", "1", "cuda", graph=asked).graph
        assert (graph.name, graph.reason) == (NATIVE, "since it runs on CUDA, and scan is for the CPU")


def test_what_was_chosen_for_these_bytes_before_stays(folder, costs):
    digest = read_version(folder).manifest.self_sha256
    for found, decided in ((FAST, NATIVE), (SLOW, SCANNED)):
        costs(found)
        assert tried(folder, decided={digest: decided}).graph.name == decided
        assert tried(folder, decided={"0" * 64: decided}).graph.name != decided


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


def test_a_faster_one_whose_bits_depend_on_the_batch_is_not_chosen(tmp_path, costs):
    costs(FAST)
    publish_bytes(tmp_path, "m", {SCAN: scaled_by_rows()})
    findings = tried(tmp_path / "m" / "1")
    assert (findings.graph.name, findings.batch_invariant) == (NATIVE, True)
    assert findings.graph.reason == "since on model.scan.onnx answers do not keep their bits"
    asked = tried(tmp_path / "m" / "1", graph=SCANNED)
    assert (asked.graph.name, asked.batch_invariant) == (SCANNED, False)


def test_where_neither_keeps_its_bits_the_faster_one_serves(tmp_path, costs):
    costs(FAST)
    publish_bytes(tmp_path, "m", {"model.onnx": scaled_by_rows(), SCAN: scaled_by_rows()})
    findings = tried(tmp_path / "m" / "1")
    assert (findings.graph.name, findings.batch_invariant) == (SCANNED, False)


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


def loaded(root, graph, decided):
    models = Repository(root)
    trials = Trials(allow_unproven=False, max_bytes=512 << 20)
    Loader(models, trials, "cpu", allow_unproven=False, timeout=60.0, graph=graph, decided=decided).load()
    return models


def test_the_loader_asks_the_process_that_tries_remembers_and_logs(tmp_path, caplog):
    """In the process that tries versions nothing is patched: what was chosen before is what is told to it."""
    publish_bytes(tmp_path, "two", {SCAN: MULTIPLIED})
    publish_good(tmp_path, "one")
    with caplog.at_level("INFO"):
        for asked, name in ((SCANNED, SCANNED), (NATIVE, NATIVE)):
            caplog.clear()
            decided = DecidedGraphs()
            models = loaded(tmp_path, asked, decided)
            served = models.find("two").model
            assert (served.graph.name, models.find("one").model.graph.name) == (name, NATIVE)
            assert decided.find("two") == {served.manifest.self_sha256: name}
            assert models.pins()["two"].versions[1].graph == name
            said = [(r.levelname, r.getMessage()) for r in caplog.records if "graph" in r.getMessage()]
            assert said == (
                [
                    ("WARNING", "one version 1: --graph scan: graph native, since it has no model.scan.onnx"),
                    ("INFO", "two version 1: graph scan, since --graph scan asks for it"),
                ]
                if asked == SCANNED
                else []
            )
        caplog.clear()
        digest = models.find("two").model.manifest.self_sha256
        for name in (NATIVE, SCANNED):
            decided = DecidedGraphs(json.dumps({"two": {digest: name}}))
            served = loaded(tmp_path, AUTO, decided).find("two").model
            assert served.graph.name == name
            assert set(served.graph.microseconds) == {"native", "scan"}
            assert f"two version 1: {served.graph}" in caplog.messages
