"""Both sides of a branch on values run where they do nothing but set variables, and one is chosen."""

import pytest
import torch
from torch import nn

from rnnserve.export import UnsupportedModule, export_onnx

SHAPES = ({0: "batch", 1: "sequence"},)


def scaled(h, x):
    """An if with two others in it, a condition that joins a tensor and a size, and variables of one side only."""
    if x.abs().max() > 1.5:
        h, half = h / 2, 0.5
        gate = h * half
    elif not (h.mean().item() > 0 and x.size(1) > 0):
        gate = h * 3
    else:
        gate = h if h[:, 0].any() else h + 1
    return gate - h


def ended(h):
    """A function that is left early, with a number beside a tensor."""
    if bool(h.sum() < 0):
        return h, 1.0
    h = h * 2
    return torch.tanh(h), 2.0


def in_the_first_steps(n, x):
    """As the normaliser of an sLSTM has it."""
    if torch.all(n == 0.0) or False:  # noqa: SIM108 - as it is written, mostly
        largest = x
    else:
        largest = torch.max(x, n)
    return largest


class Branching(nn.Module):
    """Calls them once and in a loop over steps."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(3, 4)

    def clipped(self, h):
        norm = h.norm(dim=-1, keepdim=True)
        if (norm > 0.5).any():
            return h / norm.clamp(min=0.5)
        return h

    def forward(self, x):
        h, outputs = x.new_zeros(x.size(0), 4), []
        n = torch.zeros_like(h)
        for t in range(x.size(1)):
            h = self.clipped(self.cell(x[:, t], h))
            h, scale = ended(h)
            n = in_the_first_steps(n, h)
            outputs.append(scaled(h, x[:, t : t + 1]) * scale + n)
        return torch.stack(outputs, 1), scaled(h, x)


def test_both_sides_run_and_one_is_chosen(exported):
    torch.manual_seed(0)
    with pytest.warns(UserWarning, match=r"both sides of the branch at test_value_branches.py:\d+") as told:
        result = exported(Branching().eval(), (torch.randn(2, 4, 3),), SHAPES)
    assert len({str(each.message) for each in told if "both sides" in str(each.message)}) == 6
    for scale in (0.0, 0.1, 1.0, 3.0):
        for rows, steps in ((1, 1), (2, 2), (3, 9)):
            result.agrees(torch.randn(rows, steps, 3) * scale)


class Refused(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how, self.kept = how, None

    def forward(self, x):
        y, outputs = x * 2, [x]
        if self.how == "an item" and x.sum() > 0:
            outputs[0] = y
        elif self.how == "a list" and x.sum() > 0:
            outputs.append(y)
        elif self.how == "an attribute" and x.sum() > 0:
            self.kept = y
        elif self.how == "in place" and x.sum() > 0:
            y.mul_(2)
        elif self.how == "in place, as an operator" and x.sum() > 0:
            y += 1
        elif self.how == "another shape" and x.sum() > 0:
            y = y[:, :1]
        elif self.how == "another type" and x.sum() > 0:
            y = y.double()
        elif self.how == "another structure" and x.sum() > 0:
            y = (y, y)
        while self.how == "a loop" and y.sum() > 1:
            y = y / 2
        return y, outputs[-1]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        *((how, "depends on the values") for how in ("an item", "a list", "an attribute", "in place", "a loop")),
        ("in place, as an operator", "depends on the values"),
        ("another shape", r"branch on values at test_value_branches.py:\d+ give `y` as a tensor .*of one shape"),
        ("another type", r"a tensor \(.*\) of float64 and as a tensor \(.*\) of float32"),
        ("another structure", r"give `y` another structure"),
    ],
)
def test_other_sides_are_refused(how, message):
    with pytest.raises(UnsupportedModule, match=message):
        export_onnx(
            Refused(how),
            (torch.ones(2, 4, 3),),
            input_names=["x"],
            output_names=["y", "z"],
            dynamic_shapes=SHAPES,
        )
