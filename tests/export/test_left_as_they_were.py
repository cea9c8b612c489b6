"""Publishing and exporting leave the module and the global state unchanged, even if they fail."""

from typing import Any

import pytest
import torch

from kit.meddling import INPUTS, Meddling, assert_unchanged, described, everything
from rnnserve.export import ExportError, Floats, export_onnx, publish
from rnnserve.export.surroundings import left_as_they_were


@pytest.fixture
def module():
    return Meddling()


@pytest.fixture(autouse=True)
def surroundings():
    with left_as_they_were():  # pytest's own, where the code under test leaves something
        yield


def test_publishing_leaves_module_and_process_unchanged(module, tmp_path):
    before = everything(module)
    publish(described(module), repository=tmp_path, progress=False)
    assert_unchanged(before, everything(module))


@pytest.mark.parametrize("calls", [0, 3])
def test_publishing_leaves_them_unchanged_when_module_fails(module, calls, tmp_path):
    module.fails_after = calls
    before = everything(module)
    with pytest.raises((ExportError, ValueError)):  # its own error, where that comes after the description's trials
        publish(described(module), repository=tmp_path, progress=False)
    assert_unchanged(before, everything(module))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"inputs": {"x": INPUTS["x"]}}, id="a parameter that is not described"),
        pytest.param({"outputs": ["y"]}, id="another number of outputs"),
        pytest.param({"states": {"y": "h_0"}}, id="a state that fits no input"),
        pytest.param({"labels": ["a", "b", "c"]}, id="labels that fit no output"),
        pytest.param({"inputs": {**INPUTS, "x": Floats("batch", "sequence", 5)}}, id="other features"),
        pytest.param({"samples": [{"y": 1}]}, id="a sample of another model"),
    ],
)
def test_publishing_leaves_them_unchanged_when_publication_is_invalid(module, changes, tmp_path):
    before = everything(module)
    with pytest.raises(ExportError):
        publish(described(module, **changes), repository=tmp_path, progress=False)
    assert_unchanged(before, everything(module))


@pytest.mark.parametrize("fails_after", [0, 10**9])
def test_export_onnx_leaves_them_unchanged(module, fails_after):
    module.fails_after = fails_after
    before = everything(module)
    names: dict[str, Any] = {"input_names": ["x", "h_0"], "output_names": ["y", "h_n"]}
    shapes = ({0: "batch", 1: "sequence"}, {1: "batch"})
    arguments = (torch.randn(2, 3, 3), torch.zeros(1, 2, 4))
    before = everything(module)
    try:
        export_onnx(module, arguments, **names, dynamic_shapes=shapes)
    except ExportError:
        assert fails_after == 0 or module.training
    assert_unchanged(before, everything(module))
