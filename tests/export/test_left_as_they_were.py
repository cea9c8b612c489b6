"""Publishing and exporting leave the module and the global state unchanged, even if they fail."""

import pytest

from kit.meddling import INPUTS, Meddling, assert_unchanged, described, everything
from rnnserve.export import ExportError, Floats, publish
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
def test_publishing_leaves_everything_unchanged_when_the_module_fails(module, calls, tmp_path):
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
def test_publishing_leaves_everything_unchanged_when_the_publication_is_invalid(module, changes, tmp_path):
    before = everything(module)
    with pytest.raises(ExportError):
        publish(described(module, **changes), repository=tmp_path, progress=False)
    assert_unchanged(before, everything(module))
