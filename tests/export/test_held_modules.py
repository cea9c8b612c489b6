"""Modules that a module keeps in lists and dicts of Python, which it does not register, are seen, too."""

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from rnnserve.export import Floats, Publication, UnsupportedModule, export_onnx
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.held_modules import held_modules, path_of_the_users
from rnnserve.export.model_onnx import to_onnx
from rnnserve.export.recurrence.capture_session import CaptureSession
from rnnserve.export.surroundings import left_as_they_were


class Cell(nn.Module):
    """Keeps its state in an attribute, from call to call, as long as the rows are as many."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.h = None

    def forward(self, x):
        before = 0.0 if self.h is None or self.h.shape != x.shape else self.h
        self.h = torch.tanh(self.linear(x)) + 0.5 * before
        return self.h


class Holding(nn.Module):
    """Runs cells that a container of Python holds."""

    def __init__(self, hold):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = None, None
        self.held = hold(Cell(), Cell())

    def cells(self):
        return [each for path, each in held_modules(self).items() if isinstance(each, Cell) and path]

    def forward(self, x):
        for cell in self.cells():
            x = cell(x)
        return x


class HoldingSteps(Holding):
    """Runs them over steps, from zeros on."""

    def forward(self, x):
        for cell in self.cells():
            cell.h = x.new_zeros(x.size(0), 3)
        steps = []
        for t in range(x.size(1)):
            steps.append(super().forward(x[:, t]))  # noqa: PERF401 - the loop is what is exported
        return torch.stack(steps, 1)


class WritesToItsDict(nn.Module):
    """Puts its state into a dict, which stays the same one."""

    def __init__(self):
        super().__init__()
        self.memory = {"of": {"h": None}}

    def forward(self, x):
        h = self.memory["of"]["h"]
        self.memory["of"]["h"] = x if h is None or h.shape != x.shape else 0.5 * h + x
        return torch.tanh(self.memory["of"]["h"])


HOLDS = {
    "list": (lambda one, other: [one, other], ["held.0", "held.1"]),
    "dict": (lambda one, other: {"a": one, "b": other}, ["held.a", "held.b"]),
    "nested": (lambda one, other: [(one,), {"b": other}], ["held.0.0", "held.1.b"]),
    "a list of a registered one": (lambda one, other: nn.Sequential(_keeping(one), other), ["held.1", "held.0.kept.0"]),
}


def _keeping(cell):
    identity: Any = nn.Identity()
    identity.kept = [cell]
    return identity


@pytest.mark.parametrize("name", HOLDS)
def test_modules_in_containers_are_found_once_and_by_their_paths(name):
    hold, paths = HOLDS[name]
    module: Any = Holding(hold)
    module.again = [module.held]
    assert [path for path, each in held_modules(module).items() if isinstance(each, Cell)] == paths


@pytest.mark.parametrize("name", HOLDS)
def test_a_state_that_one_of_them_keeps_is_refused_by_its_path_and_taken_away(name):
    module = Holding(HOLDS[name][0]).eval()
    names = sorted(f"{path}.h" for path in HOLDS[name][1])
    with pytest.raises(UnsupportedModule, match="from one call to the next") as refusal:
        export_onnx(module, (torch.zeros(2, 3),), input_names=["x"], output_names=["y"], dynamic_shapes=[{0: "batch"}])
    assert f"state_attributes={names}" in str(refusal.value)
    assert [cell.h for cell in module.cells()] == [None, None]


def test_so_is_a_state_in_a_dict_that_forward_writes_to():
    module = WritesToItsDict().eval()
    with pytest.raises(UnsupportedModule, match=r"keeps \['memory'\] from one call to the next"):
        export_onnx(module, (torch.zeros(2, 3),), input_names=["x"], output_names=["y"], dynamic_shapes=[{0: "batch"}])
    assert module.memory == {"of": {"h": None}}


@pytest.mark.parametrize("name", HOLDS)
def test_the_states_that_a_refusal_names_can_be_described(name):
    module = Holding(HOLDS[name][0]).eval()
    states = [f"{path}.h" for path in HOLDS[name][1]]
    model = describe_model(Publication(module, "m", {"x": Floats("batch", 3)}, ["y"], state_attributes=states))
    assert [tensor.name for tensor in model.inputs] == ["x", *states]
    x, h = np.ones((2, 3), np.float32), np.full((2, 3), 2, np.float32)
    given = {"x": x, **dict.fromkeys(states, h)}
    with torch.no_grad():
        found = model.interface.call(model.module, given)
        expected = torch.from_numpy(x)
        for cell in module.cells():
            expected = torch.tanh(cell.linear(expected)) + 0.5 * torch.from_numpy(h)
    assert np.array_equal(found["y"], expected.numpy())


def test_a_loop_over_steps_carries_what_they_keep():
    module = HoldingSteps(HOLDS["nested"][0]).eval()
    program = export_onnx(
        module,
        (torch.zeros(2, 4, 3),),
        input_names=["x"],
        output_names=["y"],
        dynamic_shapes=[{0: "batch", 1: "sequence"}],
    )
    session = ort.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for rows, steps in ((1, 1), (3, 9)):
        x = torch.randn(rows, steps, 3)
        with torch.no_grad():
            expected = module(x).numpy()
        assert np.allclose(session.run(None, {"x": x.numpy()})[0], expected, atol=1e-6)


def test_their_tensors_and_containers_are_left_as_they_were():
    module: Any = Holding(HOLDS["nested"][0])
    module.tree = [{"seen": [torch.zeros(2)]}]
    weight = module.cells()[1].linear.weight
    before, inner = weight.detach().clone(), module.tree[0]["seen"]
    with left_as_they_were(module):
        weight.data.add_(1.0)
        module.cells()[1].h = torch.ones(3)
        inner[0].fill_(5.0)
        inner.append(1)
        module.tree[0]["more"] = 2
    assert torch.equal(weight, before)
    assert module.cells()[1].h is None
    assert module.tree == [{"seen": inner}]
    assert len(inner) == 1
    assert inner[0].tolist() == [0.0, 0.0]


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.GRU(3, 4, batch_first=True)

    def forward(self, batch):
        return self.encoder(batch["x"])[0]


def test_paths_begin_within_what_is_wrapped_around_the_users_module():
    inputs = {"batch": {"x": Floats("batch", "sequence", 3)}}
    model = describe_model(Publication(Named().eval(), "named", inputs, ["y"]))
    assert path_of_the_users(model.module) != ""
    (layer,) = (node for node in onnx.load_from_string(to_onnx(model)).graph.node if node.op_type == "GRU")
    assert layer.name.startswith("encoder/")
    encoder = model.module.get_submodule(f"{path_of_the_users(model.module)}.encoder")
    assert CaptureSession.of(model.module).name(encoder) == "`encoder` (GRU)"
