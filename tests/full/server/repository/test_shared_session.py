"""Large graphs have one session for whole requests and for parts of sequences, with the bits of two."""

import numpy as np
import onnx
import pytest

from kit.cut_graphs import FEATURES, CutGraph
from kit.loaded import load_model, try_version
from rnnserve.export.adoption import Roles, adopt
from rnnserve.protos.artifact import SCAN, dump_manifest, read_version
from rnnserve.server.repository import load_version

LAYER = [
    ("GRU", "t W R", "all last", {"hidden_size": FEATURES, "name": "gru/node"}),
    ("Squeeze", "all one", "steps", {}),
    ("Transpose", "steps", "y", {"perm": [1, 0, 2]}),
]
NODES = [("Transpose", "x", "t", {"perm": [1, 0, 2]}), *LAYER]
CONVOLVED = [
    ("Transpose", "x", "c", {"perm": [0, 2, 1]}),
    ("Conv", "c kernel bias", "v", {"pads": [2, 0], "name": "conv/node"}),
    ("Transpose", "v", "t", {"perm": [2, 0, 1]}),
    *LAYER,
]


def published(path, nodes):
    onnx.save(CutGraph(nodes).model, path / "graph.onnx")
    return adopt(path / "graph.onnx", "graph", path / "repository", Roles()).published.folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return published(tmp_path_factory.mktemp("shared"), NODES)


def loaded(folder, known=None):
    return load_model(folder, "graph", allow_unproven=True, known=known)


def test_one_session_runs_both_with_the_same_bits(folder, monkeypatch):
    small = try_version(folder, "graph", allow_unproven=True)
    apart = loaded(folder, small)
    assert not small.shares_session
    assert apart.session is not apart.parts.session

    monkeypatch.setattr(load_version, "LEAST_SHARED_BYTES", 0)
    large = try_version(folder, "graph", allow_unproven=True)
    shared = loaded(folder, type(large).from_fields(large.as_fields()))
    assert large.shares_session
    assert shared.session is shared.parts.session
    assert list(shared.signature.inputs) == list(apart.signature.inputs) == ["x"]
    assert list(shared.signature.outputs) == list(apart.signature.outputs) == ["y"]
    for rows, steps in ((2, 1), (2, 9), (40, 3)):
        x = np.random.default_rng(rows).normal(size=(rows, steps, FEATURES)).astype(np.float32)
        (one,), (other,) = apart.run_arrays(["y"], {"x": x}), shared.run_arrays(["y"], {"x": x})
        assert one.tobytes() == other.tobytes()
        bound = np.empty_like(one)
        shared.bind({"x": x}, {"y": bound})()
        assert bound.tobytes() == one.tobytes()


def test_states_of_a_graph_that_does_not_serve_are_not_used(tmp_path):
    """Answers of parts would have other bits than those of the whole."""
    folder = published(tmp_path, NODES)
    manifest = read_version(folder).manifest
    manifest.parts.made_of = SCAN
    (folder / "manifest.json").write_bytes(dump_manifest(manifest))
    found = try_version(folder, "graph", allow_unproven=True)
    assert found.parts is None
    assert "other bits" in found.why_not_in_parts


def test_other_bits_keep_two_sessions(tmp_path, monkeypatch):
    """A convolution computes a single step by another kernel than two, of which the graph of parts drops one."""
    monkeypatch.setattr(load_version, "LEAST_SHARED_BYTES", 0)
    found = try_version(published(tmp_path, CONVOLVED), "graph", allow_unproven=True)
    assert found.parts is not None
    assert not found.shares_session
