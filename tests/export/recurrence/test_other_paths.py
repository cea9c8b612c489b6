"""Conditions on sizes whose other path gives the same values are no reason to refuse; with other values they are."""

import pytest
import torch
from torch import nn

from rnnserve.export import UnsupportedModule, export_onnx

SHAPES = ({0: "batch", 1: "sequence"},)


class Gated(nn.Module):
    """One step at a time, or a loop: two ways of one formula."""

    def __init__(self, factor):
        super().__init__()
        self.gate, self.factor = nn.Linear(3, 3), factor

    def forward(self, x):
        z, h = torch.sigmoid(self.gate(x)), x.new_zeros(x.size(0), 3)
        if x.size(1) == 1:
            return z * x * self.factor
        outputs = []
        for t in range(x.size(1)):
            h = (1 - z[:, t]) * h + z[:, t] * x[:, t]
            outputs.append(h)
        return torch.stack(outputs, 1)


class Resized(nn.Module):
    """A number of rows in an attribute, which is set where the input has another."""

    def __init__(self):
        super().__init__()
        self.rows = 1

    def forward(self, x):
        if self.rows != x.size(0):
            self.rows = x.size(0)
        h, outputs = x.new_zeros(self.rows, 3), []
        for x_t in x.unbind(1):
            h = torch.tanh(0.9 * h + x_t)
            outputs.append(h)
        return torch.stack(outputs, 1)


def test_a_second_way_for_one_step(exported):
    torch.manual_seed(0)
    result = exported(Gated(1.0), (torch.randn(3, 4, 3),), SHAPES)
    for sizes in ((1, 1), (2, 1), (3, 7)):
        result.agrees(torch.randn(*sizes, 3), limit=1e-6)


def test_other_values_for_one_step_are_refused():
    with pytest.raises(UnsupportedModule, match=r'another path at "batch" 3, "sequence" 1 '):
        export_onnx(
            Gated(1.01).eval(), (torch.randn(3, 4, 3),), input_names=["x"], output_names=["y"], dynamic_shapes=SHAPES
        )


def test_what_a_call_before_has_left(exported):
    torch.manual_seed(0)
    module = Resized().eval()
    result = exported(module, (torch.randn(3, 4, 3),), SHAPES)  # which calls the module with these rows before
    assert module.rows == 3
    for batch in (1, 3, 6):
        result.agrees(torch.randn(batch, 5, 3), limit=1e-6)


@pytest.mark.parametrize(
    "condition", [lambda steps: steps < 3, lambda steps: steps > 9, lambda steps: steps % 2 == 1], ids=["<", ">", "odd"]
)
def test_a_way_of_more_sizes_than_one_is_refused_whatever_its_values(condition):
    """It may have conditions of its own, which no run at one of its sizes meets."""

    class Either(nn.Module):
        def forward(self, x):
            return x.flip(1).cumsum(1) if condition(x.size(1)) else torch.cumsum(x.flip(1), 1)

    with pytest.raises(UnsupportedModule, match=r"test_other_paths.py:\d+.*takes another path at"):
        export_onnx(
            Either().eval(), (torch.randn(3, 4, 3),), input_names=["x"], output_names=["y"], dynamic_shapes=SHAPES
        )
