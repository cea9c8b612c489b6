"""Inferred states are used only if they were found in the graph that serves."""

from kit.cut_graphs import CutGraph
from kit.loaded import try_version
from rnnserve.export.onnx_import import Roles, import_onnx
from rnnserve.protos.artifact import SCAN, dump_manifest, read_version

NODES = """
    t = Transpose <perm = [1, 0, 2]> (x)  ["gru/node"] all = GRU <hidden_size = 3> (t, W, R)  steps = Squeeze (all, one)
    y = Transpose <perm = [1, 0, 2]> (steps)
"""


def test_states_of_a_graph_that_is_not_served_are_not_used(tmp_path):
    """Answers of parts would have other bits than those of the whole."""
    (tmp_path / "graph.onnx").write_bytes(CutGraph(NODES).model)
    folder = import_onnx(tmp_path / "graph.onnx", "graph", tmp_path / "repository", Roles()).published.folder
    assert try_version(folder, "graph", allow_unproven=True).parts is not None
    manifest = read_version(folder).manifest
    manifest.parts.made_of = SCAN
    (folder / "manifest.json").write_bytes(dump_manifest(manifest))
    found = try_version(folder, "graph", allow_unproven=True)
    assert found.parts is None
    assert "other bits" in found.why_not_in_parts
