"""The meaning of an input that a request leaves out, as found from how forward handles the missing argument."""

import pytest
import torch
from torch import nn

from rnnserve.export import Floats, Lengths, Publication
from rnnserve.export.description.described_model import describe_model
from rnnserve.protos import manifest_pb2

REQUIRED, FULL_LENGTH = manifest_pb2.DEFAULT_REQUIRED, manifest_pb2.DEFAULT_FULL_LENGTH
ZEROS, RECORDED = manifest_pb2.DEFAULT_ZEROS, manifest_pb2.DEFAULT_RECORDED

X = Floats("batch", "sequence", ("features", 3))
STATE = Floats(("layers * directions", 1), "batch", ("hidden", 4))


class Recurrent(nn.Module):
    """A GRU whose initial state, if a request has none, is what `begin` makes of the module and the input."""

    def __init__(self, begin):
        super().__init__()
        torch.manual_seed(3)
        self.gru = nn.GRU(3, 4, batch_first=True)
        self.h_0 = nn.Parameter(torch.randn(1, 1, 4))
        self.start = nn.Linear(3, 4)
        self.begin = begin

    def forward(self, x, h_0=None):
        return self.gru(x, self.begin(self, x) if h_0 is None else h_0)


def learned(module, x):
    return module.h_0.expand(-1, x.size(0), -1).contiguous()


def computed_from_parameters(module, x):
    return torch.tanh(module.h_0.reshape(4) * 2).repeat(x.size(0), 1).unsqueeze(0)


@pytest.mark.parametrize(
    ("begin", "default"),
    [
        (lambda _, __: None, ZEROS),
        (lambda _, x: torch.zeros(1, x.size(0), 4), ZEROS),
        (learned, RECORDED),
        (computed_from_parameters, RECORDED),
        (lambda _, x: x.new_ones(1, x.shape[0], 4), RECORDED),
        (lambda module, x: module.start(x.mean(1)).unsqueeze(0), REQUIRED),
        (lambda module, x: module.h_0.expand(-1, x.size(0), -1) * x.size(0), REQUIRED),
        (lambda _, x: torch.randn(1, x.size(0), 4), REQUIRED),
    ],
    ids=["none", "zeros", "learned", "computed", "ones", "of the input", "of the batch", "random"],
)
def test_default_of_a_state_is_inferred(begin, default):
    inputs, states = {"x": X, "h_0": STATE}, {"h_n": "h_0"}
    module = Recurrent(begin).eval()
    model = describe_model(Publication(module, "model", inputs, ["output", "h_n"], states, sizes={"sequence": (1, 9)}))
    described = model.inputs[1]
    assert described.default == default
    assert bool(described.required_because) is (default == REQUIRED)
    if begin is learned:
        assert torch.equal(torch.from_numpy(model.defaults["h_0"]), module.h_0.detach())


class Masked(nn.Module):
    """A mean over the steps that count; without lengths, over all steps or the first half."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, x, lengths: torch.Tensor | None = None):
        if lengths is None:
            lengths = torch.full((x.size(0),), x.size(1)).div(self.part, rounding_mode="floor").clamp(min=1)
        within = (torch.arange(x.size(1)) < lengths[:, None]).unsqueeze(2)
        return (x * within).sum(1) / lengths[:, None]


@pytest.mark.parametrize(("part", "default"), [(1, FULL_LENGTH), (2, REQUIRED)])
def test_omitted_lengths_are_full_only_if_forward_treats_them_so(part, default):
    model = describe_model(Publication(Masked(part).eval(), "model", {"x": X, "lengths": Lengths()}, ["mean"]))
    assert model.inputs[1].default == default


class Both(nn.Module):
    """Two parameters, of which the second counts only if the first is there."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 4, batch_first=True)

    def forward(self, x, h_0=None, c_0=None):
        hx = None if h_0 is None else (h_0, torch.zeros_like(h_0) if c_0 is None else c_0)
        output, (h_n, c_n) = self.lstm(x, hx)
        return output, h_n, c_n


def test_states_that_depend_on_each_other_are_omitted_together():
    inputs, states = {"x": X, "h_0": STATE, "c_0": STATE}, {"h_n": "h_0", "c_n": "c_0"}
    model = describe_model(Publication(Both().eval(), "model", inputs, ["output", "h_n", "c_n"], states))
    h_0, c_0 = model.inputs[1:]
    assert (h_0.default, c_0.default) == (ZEROS, ZEROS)
    assert list(h_0.left_out_with) == ["c_0"]
