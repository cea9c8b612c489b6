"""Which tests `--fast` leaves out: seen by imports, through modules of the tests, too, and by fixtures."""

import pytest

from support import test_costs
from support.test_costs import marks_of_file, marks_of_fixtures


@pytest.mark.parametrize(
    ("source", "marks"),
    [
        ("import json", set()),
        ("import torch.nn", {"torch"}),
        ("import torchlight", set()),
        ("from torch import nn", {"torch"}),
        ("def test():\n    from rnnserve import export", {"torch"}),
        ("from rnnserve.server import Server", set()),
        ("import subprocess\nimport onnx", {"torch", "process"}),
        ("from support.inner import value", {"torch"}),
        ("from support import outer", {"torch", "process"}),
    ],
)
def test_what_a_file_imports(tmp_path, monkeypatch, source, marks):
    monkeypatch.setattr(test_costs, "_ROOTS", [tmp_path])
    (tmp_path / "support").mkdir()
    (tmp_path / "support" / "inner.py").write_text("import onnx")
    (tmp_path / "support" / "outer.py").write_text("import support.inner\nimport multiprocessing.pool")
    (tmp_path / "test_file.py").write_text(source)
    assert marks_of_file(tmp_path / "test_file.py") == marks


def test_fixtures_may_import_what_they_need(tmp_path):
    (tmp_path / "conftest.py").write_text("import json\ndef fixture():\n    import torch")
    assert marks_of_file(tmp_path / "conftest.py") == set()
    (tmp_path / "test_file.py").write_text("def test():\n    import torch")
    assert marks_of_file(tmp_path / "test_file.py") == {"torch"}


def test_what_fixtures_need(request):
    assert marks_of_fixtures(["tmp_path", "stub", "kept_artifacts"]) == {"served"}
    assert marks_of_fixtures(["tmp_path"]) == set()
    assert not any(request.node.get_closest_marker(mark) for mark in test_costs.MARKS)


def test_a_test_of_the_trained_models_is_marked(request, repository):
    assert [mark for mark in test_costs.MARKS if request.node.get_closest_marker(mark)] == ["served"]
