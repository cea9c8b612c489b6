"""`rnnserve inspect`: the contents of a repository, as text and as JSON, and a client program that runs."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from kit.artifacts import build_model, publish_model, tensor
from rnnserve.cli import main
from rnnserve.cli.inspection.client_snippet import client_snippet
from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import read_version
from rnnserve.server.settings import Settings
from rnnserve.server.testing import serve


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Two models: token ids with lengths and a state, imported; and a step model."""
    repository = tmp_path_factory.mktemp("inspected") / "repository"
    tokens = tensor("tokens", "INT64", "batch", "sequence", integers=manifest_pb2.IntegerRange(low=3, high=9))
    lengths = tensor("n", "INT64", "batch", lengths_of="sequence", default=manifest_pb2.DEFAULT_FULL_LENGTH)
    state = tensor("h_0", "FP32", ("layers", 1), "batch", ("hidden", 2), default=manifest_pb2.DEFAULT_ZEROS)
    final = tensor("h_n", "FP32", ("layers", 1), "batch", ("hidden", 2), continues_as="h_0")
    random = np.random.default_rng(0)
    constants = {
        "table": random.standard_normal((9, 3)).astype(np.float32),
        "W": random.standard_normal((1, 6, 3)).astype(np.float32),
        "R": random.standard_normal((1, 6, 2)).astype(np.float32),
        "B": random.standard_normal((1, 12)).astype(np.float32),
    }
    nodes = """
        embedded = Gather (table, tokens)  x = Transpose <perm = [1, 0, 2]> (embedded)  steps = Cast <to = 6> (n)
        all, h_n = GRU <hidden_size = 2> (x, W, R, B, steps, h_0)
    """
    model = build_model(nodes, [tokens, lengths, state], [final], constants)
    sample = {
        "tokens": np.array([[3, 8, 4], [5, 3, 3]]),
        "n": np.array([3, 2]),
        "h_0": np.zeros((1, 2, 2), np.float32),
    }
    publish_model(
        repository,
        "words",
        model,
        [tokens, lengths, state],
        [final],
        [sample],
        batching=manifest_pb2.BATCHING_PADDED,
        origin=manifest_pb2.ORIGIN_ADOPTED,
    )
    x, y = tensor("x", "FP32", "batch", ("features", 2)), tensor("y", "FP32", "batch", ("features", 2))
    step = build_model("y = Tanh (x)", [x], [y], {})
    publish_model(repository, "step", step, [x], [y], [{"x": np.ones((2, 2), np.float32)}])
    return repository


def test_report_has_origin_tensors_batching_and_files(published, capsys):
    assert main(["inspect", str(published), "words"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "words version 1"
    for line, expected in zip(
        lines[1:8],
        (
            ("origin", "imported", "--allow-unproven"),
            ("inputs", "tokens", "INT64", "(batch, sequence)", "values 3 to 8"),
            ("n", "(batch)", 'lengths of "sequence"; full length if a request leaves it out'),
            ("h_0", "FP32", "(layers: 1, batch, hidden: 2)", "zeros if a request leaves it out"),
            ("outputs", "h_n", 'send it as "h_0" to continue'),
            ("batching", "padded"),
            ("files", "golden.npz", "bytes"),
        ),
        strict=True,
    ):
        assert all(words in line for words in expected), line


def test_json_has_the_same_facts(published, capsys):
    assert main(["inspect", str(published), "--json"]) == 0
    step, words = json.loads(capsys.readouterr().out)
    assert (step["model"], step["version"], step["origin"], step["served"]) == ("step", 1, "exported", True)
    assert words["origin"] == "adopted"
    roles = [[tensor[key] for key in ("name", "lengths_of", "default", "bounds")] for tensor in words["inputs"]]
    assert roles == [
        ["tokens", None, None, [3, 8]],
        ["n", "sequence", "full length", None],
        ["h_0", None, "zeros", None],
    ]
    assert words["outputs"][0]["continues_as"] == "h_0"
    not_recorded = dict.fromkeys(("rows", "padding", "scan_rows", "scan_padding"))
    assert words["batching"] == {"mode": "padded", "reasons": [], **not_recorded}
    assert words["causality"] == {}
    assert words["scan_proof"] is None
    any_size = {"size": -1, "smallest": None, "largest": None}
    assert words["inputs"][0]["axes"] == [{"name": "batch"} | any_size, {"name": "sequence"} | any_size]
    assert [file["name"] for file in words["files"]] == ["golden.npz", "model.onnx"]


def test_printed_programs_run(published, capsys):
    with serve(published, Settings(provider="cpu", allow_unproven=True)) as server:
        for model, printed in (("words", ["h_n (1, 2)"] * 2), ("step", ["y (2,)"] * 2)):
            manifest = read_version(published / model / "1").manifest
            exec(compile(client_snippet(manifest, server.address), "snippet", "exec"), {})
            assert capsys.readouterr().out.splitlines() == printed


def test_damaged_version_is_reported(published, tmp_path, capsys):
    repository = shutil.copytree(published, tmp_path / "repository")
    with (repository / "step" / "1" / "golden.npz").open("ab") as file:
        file.write(b"x")
    assert main(["inspect", str(repository)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "step version 1"
    assert lines[1].startswith("  CANNOT BE USED  golden.npz: has changed since publication: ")
    assert "words version 1" in lines
    assert main(["inspect", str(repository), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["problem"].startswith("golden.npz: ")


def test_inspect_needs_neither_torch_nor_onnx_nor_grpc(published):
    probe = (
        "import sys\nfor name in ('torch', 'onnx', 'onnxruntime', 'grpc'): sys.modules[name] = None\n"
        "from rnnserve.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", probe, "inspect", str(published)], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
