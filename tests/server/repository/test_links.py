"""Links in a repository that lead out of it."""

from rnnserve.server.repository.folders import way_out


def test_links_that_lead_out(tmp_path):
    root, outside = tmp_path / "repository", tmp_path / "outside"
    (root / "a" / "1").mkdir(parents=True)
    outside.mkdir()
    (root / "inner").symlink_to(root / "a")
    assert (way_out(root, root / "a"), way_out(root, root / "inner")) == (None, None)
    (root / "outer").symlink_to(outside)
    assert way_out(root, root / "outer") == "outer"
    (root / "a" / "2").symlink_to(outside)
    assert way_out(root, root / "a") == "2"
    (root / "a" / "1" / "model.onnx").symlink_to("../../../outside/model.onnx")
    assert way_out(root, root / "a" / "1") == "model.onnx"
