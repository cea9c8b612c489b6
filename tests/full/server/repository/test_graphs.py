"""A version with two graphs: which one is loaded, what is proven of it, and what of it keeps the version out."""

import json

import numpy as np
import pytest
from onnx import TensorProto, helper

from kit.artifacts import build_model
from kit.bad_versions import INPUTS, OUTPUTS, TWICE, publish_bytes
from rnnserve.protos.artifact import MODEL, SCAN
from rnnserve.server import trial
from rnnserve.server.repository import trial_worker
from rnnserve.server.repository.graph_choice import NATIVE, SCANNED

TWO = {"two": np.array(2, np.float32)}
MULTIPLIED = build_model([helper.make_node("Mul", ["input", "two"], ["output"])], INPUTS, OUTPUTS, TWO)
"""The same as `TWICE` by another operator, which tells the two apart."""


@pytest.fixture
def folder(tmp_path):
    publish_bytes(tmp_path, "m", {SCAN: MULTIPLIED})
    return tmp_path / "m" / "1"


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
