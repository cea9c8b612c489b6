"""Python code that asks for values that the module holds: it takes the way of the module's own numbers."""

import pytest
import torch
from torch import nn

from rnnserve.export import UnsupportedModule, export_onnx

SHAPES = ({0: "batch", 1: "sequence"},)
ASKS, CHANGES = {}, {}


def asks(forward):
    ASKS[forward.__name__] = forward
    return forward


def changes(name):
    def add(forward):
        CHANGES[forward.__name__] = (forward, name)
        return forward

    return add


class Cell(nn.Module):
    """A step that asks, with buffers and a parameter."""

    def __init__(self, way):
        super().__init__()
        self.way = way
        self.linear = nn.Linear(4, 4)
        self.register_buffer("input_size", torch.Tensor([4]))
        self.register_buffer("hidden_size", torch.Tensor([8]))
        self.register_buffer("layers", torch.tensor(2))
        self.register_buffer("is_residual", torch.tensor(True))
        self.register_buffer("calls", torch.tensor(0))
        self.register_buffer("last", torch.zeros(1, 4))
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, x, h):
        return self.way(self, x, h)


@asks
def by_equality_and_left_early(self, x, h):
    if self.input_size == self.hidden_size:
        return x + h
    return torch.tanh(self.linear(x)) + h


@asks
def by_a_flag(self, x, h):
    return self.linear(x) + h if self.is_residual else h


@asks
def as_a_number_of_layers(self, x, h):
    for _ in range(int(self.layers)):
        h = torch.tanh(self.linear(x) + h)
    return h


@asks
def as_an_index(self, x, h):
    return self.linear(x) + h * [1.0, 2.0, 3.0][self.layers]


@asks
def as_a_float(self, x, h):
    return self.linear(x) * float(self.scale) + h


@asks
def as_a_list_and_an_array(self, x, h):
    return self.linear(x) * self.input_size.tolist()[0] + h * float(self.hidden_size.numpy()[0])


@asks
def of_what_is_computed(self, x, h):
    parts = torch.cat([self.input_size * 2, self.hidden_size]).clone()
    if torch.equal(parts[:1], parts[1:]) and self.linear.bias.abs().amax().item() < 100:
        h = h * self.scale
    return self.linear(x) + h


@asks
def of_a_copy_that_is_written_to(self, x, h):
    copied = self.hidden_size.clone()
    copied[0] = 1.0
    return self.linear(x) + h * (self.hidden_size - copied).sum()


@changes("calls")
def counts_in_place(self, x, h):
    if self.calls > 0:
        h = h * 2
    self.calls += 1
    return self.linear(x) + h


@changes("calls")
def counts_anew(self, x, h):
    if int(self.calls) > 0:
        h = h * 2
    self.calls = self.calls + 1
    return self.linear(x) + h


@changes("last")
def keeps_what_it_computed(self, x, h):
    if self.last.sum() == 0:
        h = h + 1
    self.last = self.linear(x)[..., -1:, :].reshape(-1, 4)
    return self.linear(x) + h


class Plain(nn.Module):
    """Asks once, beside a layer."""

    def __init__(self, way):
        super().__init__()
        self.cell, self.gru = Cell(way), nn.GRU(4, 4, batch_first=True)

    def forward(self, x):
        return self.cell(x, self.gru(x)[0])


class Loop(nn.Module):
    """Asks in each step."""

    def __init__(self, way):
        super().__init__()
        self.cell = Cell(way)

    def forward(self, x):
        h, outputs = x.new_zeros(x.size(0), 4), []
        for t in range(x.size(1)):
            h = self.cell(x[:, t], h) * 0.1
            outputs.append(h)
        return torch.stack(outputs, 1)


@pytest.mark.parametrize("within", [Plain, Loop])
@pytest.mark.parametrize("name", ASKS)
def test_the_modules_own_numbers_decide(name, within, exported):
    result = exported(within(ASKS[name]).eval(), (torch.randn(2, 5, 4),), SHAPES)
    result.agrees(torch.randn(1, 1, 4))
    result.agrees(torch.randn(3, 7, 4))


@pytest.mark.parametrize("name", CHANGES)
def test_numbers_that_a_call_changes_are_a_state(name):
    way, kept = CHANGES[name]
    with pytest.raises(UnsupportedModule, match=rf"keeps \['cell.{kept}'\] from one call to the next"):
        export_onnx(
            Plain(way).eval(),
            (torch.randn(2, 5, 4),),
            input_names=["x"],
            output_names=["y"],
            dynamic_shapes=SHAPES,
        )
