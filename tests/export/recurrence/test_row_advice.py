"""Code that no capture can follow is refused with what to write: rows that are cut one by one, compiled operators."""

import re

import pytest
import torch
from torch import nn

from rnnserve.export import Floats, Lengths, UnsupportedModule, WrongArguments, publish

INPUTS = {"x": Floats("batch", "sequence", 3), "lengths": Lengths()}

library = torch.library.Library("rnnserve_rows", "DEF")
library.define("first(Tensor x, int n) -> Tensor")
library.impl("first", lambda x, n: x.narrow(1, 0, n) * 2, "CPU")


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.gru = nn.GRU(3, 4, batch_first=True)


class Reverses(Base):
    def forward(self, x, lengths):
        turned = torch.zeros_like(x)
        for i, length in enumerate(lengths):
            turned[i, :length] = x[i, :length].flip(0)
        return self.gru(turned)[0]


class Cuts(Base):
    def forward(self, x, lengths):
        kept = torch.zeros_like(x)
        for i in range(x.size(0)):
            kept[i, : lengths[i]] = x[i, : lengths[i]] * 2
        return self.gru(kept)[0]


class Gathers(Base):
    """`Reverses`, as its refusal says."""

    def forward(self, x, lengths):
        steps = torch.arange(x.size(1))
        inside = steps < lengths.unsqueeze(1)
        at = torch.where(inside, lengths.unsqueeze(1) - 1 - steps, steps)
        turned = x.gather(1, at.unsqueeze(2).expand_as(x))
        return self.gru(turned * inside.unsqueeze(2))[0]


class Compiled(Base):
    def forward(self, x, lengths):
        return self.gru(torch.ops.rnnserve_rows.first(x, x.size(1)))[0] * lengths[:, None, None]


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Reverses, r"\[i, :length\].*It cuts each row at its length: compute all steps.*x\.gather\(1, at\."),
        (Cuts, r"It cuts each row at its length: compute all steps(?!.*x\.gather)"),
        (Compiled, r"calls rnnserve_rows::first \(at .*test_row_advice.py:\d+\), an operator that is compiled"),
    ],
)
def test_the_refusal_says_what_to_write(module, message, tmp_path):
    with pytest.raises(UnsupportedModule, match=re.compile(message, re.DOTALL)):
        publish(module().eval(), "rows", repository=tmp_path, inputs=INPUTS, outputs=["y"], progress=False)


def test_the_form_of_the_refusal_gives_the_same_and_is_published(tmp_path):
    x, lengths = torch.randn(3, 5, 3), torch.tensor([5, 1, 3])
    assert torch.equal(Reverses()(x, lengths), Gathers()(x, lengths))
    publish(Gathers().eval(), "rows", repository=tmp_path, inputs=INPUTS, outputs=["y"], progress=False)


def test_lengths_of_an_axis_of_another_name_are_told_how_to_name_it(tmp_path):
    inputs = {"x": Floats("batch", "frames", 3), "lengths": Lengths()}
    with pytest.raises(WrongArguments, match=r'no dynamic axis; there are frames\. Write Lengths\("frames"\)$'):
        publish(Gathers().eval(), "rows", repository=tmp_path, inputs=inputs, outputs=["y"], progress=False)
