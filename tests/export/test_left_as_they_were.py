"""A module, and the settings of the process, are as they were after publishing, exporting and checking; and after each
way in which these fail."""

import copy
import random
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rnnserve.export import ExportError, Floats, Publication, export_onnx, publish
from rnnserve.export.diagnosis import check_file
from rnnserve.export.errors import ParityError
from rnnserve.export.model_onnx import to_onnx
from rnnserve.export.surroundings import left_as_they_were
from rnnserve.protos.artifact import ArtifactError

INPUTS = {"x": Floats("batch", "sequence", ("features", 3)), "h_0": Floats(1, "batch", ("hidden", 4))}


class Meddling(nn.Module):
    """Changes all that a forward can: itself, and the settings of the process."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(3, 4, batch_first=True)
        self.frozen = nn.Linear(4, 2)
        self.frozen.weight.requires_grad_(False)
        self.dropout = nn.Dropout(0.5)
        self.register_buffer("calls", torch.zeros(()))
        self.seen: list[int] = []
        self.by_name: dict[str, object] = {"first": 1}
        self.kept = torch.full((2,), torch.nan)
        weight: nn.Parameter = self.gru.get_parameter("weight_hh_l0")
        weight.grad = torch.ones_like(weight)
        self.fails_after = 10**9
        self.train()
        self.frozen.eval()
        self.hooked: list[str] = []
        self.gru.register_forward_hook(lambda *_: self.hooked.append("hook"))
        self.gru.register_forward_pre_hook(lambda *_: self.hooked.append("before"))

    def forward(self, x, h_0):
        self.seen.append(len(self.seen))
        self.by_name["last"] = len(self.seen)
        self.later = len(self.seen)
        if len(self.seen) > self.fails_after:
            raise ValueError("it fails now")
        if not torch.compiler.is_exporting():
            self.get_buffer("calls").add_(1)
            self.kept.fill_(3.0)
            self.frozen.weight.requires_grad_(True)
            self.frozen.bias.data.add_(0.0)
            self.register_forward_hook(lambda *_: None)
            random.random()
            np.random.rand()  # noqa: NPY002 - the state of all numpy
            torch.rand(1)
            warnings.simplefilter("ignore")
            torch.use_deterministic_algorithms(True, warn_only=True)
        output, h_n = self.gru(x, h_0)
        return self.dropout(self.frozen(output)), h_n


def everything(module):
    """All that may not change, in a form that is compared with ==."""
    return {
        "training": [(name, submodule.training) for name, submodule in module.named_modules()],
        "identities": [(name, id(tensor)) for name, tensor in module.state_dict(keep_vars=True).items()],
        "requires_grad": [(name, p.requires_grad, id(p.grad)) for name, p in module.named_parameters()],
        "values": [(n, t.detach().numpy().tobytes(), t.dtype, t.device) for n, t in module.state_dict().items()],
        "attributes": [
            (name, attribute, id(value), list(value) if isinstance(value, list | dict) else None)
            for name, submodule in module.named_modules()
            for attribute, value in submodule.__dict__.items()
        ],
        "kept": module.kept.numpy().tobytes(),
        "flat weights": [id(weight) for weight in module.gru._flat_weights],
        "pointers": [p.data_ptr() for p in module.parameters()],
        "random": (torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()),  # noqa: NPY002
        "torch": (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.get_default_dtype(),
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.get_float32_matmul_precision(),
            float(torch.tensor(1e-39) * 1.0),
        ),
        "warnings": list(warnings.filters),
        "forward of PyTorch": [cls.forward.__code__ for cls in (nn.RNN, nn.GRU, nn.LSTM)],
        "packing": nn.utils.rnn.pack_padded_sequence.__code__,
    }


def assert_unchanged(before, after):
    for what, value in before.items():
        assert after[what] == value, what


def described(module, **changes):
    fields = {"inputs": INPUTS, "outputs": ["y", "h_n"], "states": {"h_n": "h_0"}, **changes}
    return Publication(module, "model", **fields)


@pytest.fixture
def module():
    return Meddling()


@pytest.fixture(autouse=True)
def surroundings():
    with left_as_they_were():  # pytest's own, where the code under test leaves something
        yield


def test_publishing_leaves_everything_as_it_was(module, tmp_path):
    before = everything(module)
    publish(described(module), repository=tmp_path, progress=False)
    assert_unchanged(before, everything(module))


@pytest.mark.parametrize("calls", [0, 1, 3, 20])
def test_so_does_publishing_a_module_that_fails_after_some_calls(module, calls, tmp_path):
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
def test_so_does_each_description_that_does_not_fit(module, changes, tmp_path):
    before = everything(module)
    with pytest.raises(ExportError):
        publish(described(module, **changes), repository=tmp_path, progress=False)
    assert_unchanged(before, everything(module))


def test_so_does_a_proof_that_fails(module, tmp_path, monkeypatch):
    other = copy.deepcopy(module)
    with torch.no_grad():
        other.gru.weight_hh_l0 += 0.5
    data = to_onnx_of(other)
    monkeypatch.setattr("rnnserve.export.pipeline.to_onnx", lambda _: data)
    before = everything(module)
    with pytest.raises(ParityError):
        publish(described(module), repository=tmp_path, progress=False)
    assert_unchanged(before, everything(module))


def test_so_does_a_disk_that_cannot_be_written(module, tmp_path):
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "model").write_text("in the way")
    before = everything(module)
    with pytest.raises((OSError, ExportError, ArtifactError)):
        publish(described(module), repository=tmp_path / "repository", progress=False)
    assert_unchanged(before, everything(module))


@pytest.mark.parametrize("fails_after", [0, 10**9])
def test_so_does_exporting_to_onnx(module, fails_after):
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


@pytest.mark.parametrize("moved", [0.0, 0.5], ids=["right", "wrong"])
def test_so_does_checking_a_file(module, moved, tmp_path):
    other = copy.deepcopy(module)
    with torch.no_grad():
        other.gru.weight_hh_l0 += moved
    (tmp_path / "model.onnx").write_bytes(to_onnx_of(other))
    before = everything(module)
    found = check_file(tmp_path / "model.onnx", described(module), progress=False)
    assert bool(found.faults) is bool(moved)
    assert_unchanged(before, everything(module))


def to_onnx_of(module):
    from rnnserve.export.description.described_model import describe_model

    with left_as_they_were():
        return to_onnx(describe_model(described(module)))


def test_a_forward_without_gradients_and_a_training_mode_that_is_mixed_are_kept(module, tmp_path):
    with torch.no_grad():
        before = everything(module)
        publish(described(module), repository=tmp_path, progress=False)
        assert_unchanged(before, everything(module))
