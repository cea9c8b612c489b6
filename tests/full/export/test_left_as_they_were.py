"""A module, and the settings of the process, are as they were after checking, and after more ways of failing."""

import copy

import pytest
import torch

from kit.meddling import Meddling, assert_unchanged, described, everything
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.file_check import check_file
from rnnserve.export.model_onnx import to_onnx
from rnnserve.export.surroundings import left_as_they_were


@pytest.fixture
def module():
    return Meddling()


@pytest.fixture(autouse=True)
def surroundings():
    with left_as_they_were():  # pytest's own, where the code under test leaves something
        yield


@pytest.mark.parametrize("moved", [0.0, 0.5], ids=["right", "wrong"])
def test_check_leaves_everything_unchanged(module, moved, tmp_path):
    other = copy.deepcopy(module)
    with torch.no_grad():
        other.gru.weight_hh_l0 += moved
    (tmp_path / "model.onnx").write_bytes(to_onnx_of(other))
    before = everything(module)
    found = check_file(tmp_path / "model.onnx", described(module), progress=False)
    assert bool(found.faults) is bool(moved)
    assert_unchanged(before, everything(module))


def to_onnx_of(module):
    with left_as_they_were():
        return to_onnx(describe_model(described(module)))
