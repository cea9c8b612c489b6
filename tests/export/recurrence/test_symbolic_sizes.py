"""What is certain of sizes during a capture: a loop of at least one step may have a first step unlike the others."""

import pytest
import torch
from torch import nn

from rnnserve.export import UnsupportedModule, export_onnx

SHAPES = ({0: "batch", 1: "sequence"},)
CERTAIN = {
    "n": lambda x: x,
    "n // 2 + 1": lambda x: torch.cat([x[:, :1], x[:, 1::2]], 1),
    "(n + 1) // 2": lambda x: x[:, ::2],
    "2 * n": lambda x: torch.cat([x, x], 1),
    "n // 3 + n": lambda x: torch.cat([x[:, 2::3], x], 1),
}
OPEN = {"n // 2": lambda x: x[:, 1::2], "n - 1": lambda x: x[:, 1:]}


class FirstApart(nn.Module):
    """Begins with a state of another shape than that after a step."""

    def __init__(self, steps):
        super().__init__()
        self.steps, self.cell = steps, nn.GRUCell(3, 4)

    def forward(self, x):
        h, outputs = x.new_zeros(1, x.size(0), 4), []
        for x_t in self.steps(x).unbind(1):
            h = self.cell(x_t, h.reshape(-1, 4))
            outputs.append(h)
        return torch.stack(outputs, 1)


@pytest.mark.parametrize("steps", CERTAIN.values(), ids=CERTAIN)
def test_of_at_least_one_step_the_first_may_differ(steps, exported):
    result = exported(FirstApart(steps).eval(), (torch.randn(2, 5, 3),), SHAPES)
    result.agrees(torch.randn(1, 1, 3))
    result.agrees(torch.randn(3, 8, 3))


@pytest.mark.parametrize("steps", OPEN.values(), ids=OPEN)
def test_of_what_may_be_none_it_may_not(steps):
    module, x = FirstApart(steps).eval(), torch.randn(2, 5, 3)
    with pytest.raises(UnsupportedModule, match="it may have no step at all"):
        export_onnx(module, (x,), input_names=["x"], output_names=["y"], dynamic_shapes=SHAPES)
