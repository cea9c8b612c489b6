"""A version with two graphs: which one is loaded, what is verified of it, and what of it keeps the version out."""

import dataclasses
import json

import numpy as np
import pytest
from onnx import helper

from kit.artifacts import build_model, tensor
from kit.bad_versions import INPUTS, OUTPUTS, SAMPLE, TWICE, publish_bytes, publish_good
from kit.loaded import load_model, try_version
from rnnserve.protos.artifact import MODEL, SCAN, ArtifactError
from rnnserve.server.batching.execution import Cost
from rnnserve.server.repository.findings import AUTO, NATIVE, SCANNED, Findings, GraphChoice

TWO = {"two": np.array(2, np.float32)}
MULTIPLIED = build_model([helper.make_node("Mul", ["input", "two"], ["output"])], INPUTS, OUTPUTS, TWO)
"""The same as `TWICE` by another operator, which tells the two apart."""


@pytest.fixture
def folder(tmp_path):
    publish_bytes(tmp_path, "m", {SCAN: MULTIPLIED})
    return tmp_path / "m" / "1"


def tried(folder, **options):
    return try_version(folder, "m", **options)


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
        model = load_model(folder, "m", known=known)
        assert model.graph == findings.graph
        assert operators(model) == [operator]
        (output,) = model.run_arrays(["output"], SAMPLE)
        np.testing.assert_array_equal(output, 2 * SAMPLE["input"])


@pytest.mark.parametrize(("asked", "operator"), [(NATIVE, "Add"), (SCANNED, "Mul")])
def test_what_is_asked_for_is_loaded(folder, asked, operator):
    findings = tried(folder, graph=asked)
    assert operators(load_model(folder, "m", known=findings)) == [operator]


@pytest.mark.parametrize("asked", [AUTO, SCANNED])
def test_a_version_without_the_file_serves_on_native_and_says_so(tmp_path, asked):
    publish_good(tmp_path, "m")
    graph = tried(tmp_path / "m" / "1", graph=asked).graph
    assert graph == GraphChoice(NATIVE, "since it has no model.scan.onnx")


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


FOUND = Findings("d" * 64, GraphChoice(SCANNED, "since so"), Cost(1.0, 2.0, 3.0, 4.0), True, False, True, True, "")


def test_findings_with_a_choice_are_written_and_read():
    assert Findings.from_fields(json.loads(json.dumps(dataclasses.asdict(FOUND)))) == FOUND
