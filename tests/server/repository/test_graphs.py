"""A version with two graphs: which one is loaded, what is verified of it, and when it keeps the version out."""

import numpy as np
import pytest

from kit.artifacts import build_model, tensor
from kit.bad_versions import INPUTS, OUTPUTS, SAMPLE, TWICE, publish_bytes
from kit.loaded import load_model, try_version
from rnnserve.protos.artifact import MODEL, SCAN, ArtifactError
from rnnserve.server.repository.findings import AUTO, NATIVE, SCANNED, GraphChoice

TWO = {"two": np.array(2, np.float32)}
MULTIPLIED = build_model("output = Mul (input, two)", INPUTS, OUTPUTS, TWO)
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
def test_manifest_or_rule_chooses_the_serving_graph(tmp_path, file, name, operator, reason):
    folder = publish_bytes(tmp_path, "m", {SCAN: MULTIPLIED}, graph=file)
    findings = tried(folder)
    assert findings.graph == GraphChoice(name, reason)
    for known in (findings, None):
        model = load_model(folder, "m", known=known)
        assert model.graph == findings.graph
        assert operators(model) == [operator]
        (output,) = model.run_arrays(["output"], SAMPLE)
        np.testing.assert_array_equal(output, 2 * SAMPLE["input"])


ROWS = [tensor("output", "FP32", "rows", "sequence", ("features", 2))]


@pytest.mark.parametrize(
    ("scan", "said"),
    [
        (b"no model", "model.scan.onnx: onnxruntime cannot load it: "),
        (TWICE[: len(TWICE) // 2], "model.scan.onnx: onnxruntime cannot load it: "),
        (
            build_model("output = Identity (input)", INPUTS, OUTPUTS, {}),
            "golden.npz: model.scan.onnx does not reproduce these results on cpu: case 0",
        ),
        (
            build_model("output = Add (input, input)", INPUTS, ROWS, {}),
            r'manifest.json: describes "output" FP32 \(batch, sequence, features=2\), but model.scan.onnx has ',
        ),
    ],
    ids=["garbage", "truncated", "other values", "other axes"],
)
def test_invalid_scan_graph_keeps_the_version_out(tmp_path, scan, said):
    publish_bytes(tmp_path, "m", {SCAN: scan})
    folder = tmp_path / "m" / "1"
    for asked in (AUTO, SCANNED):
        with pytest.raises(ArtifactError, match=f"^{said}"):
            tried(folder, graph=asked)
    assert tried(folder, graph=NATIVE).graph.name == NATIVE
