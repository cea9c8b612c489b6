"""A module that keeps a state of some rows does not take others: the refusal names the state, and what to write."""

import pytest
import torch
from torch import nn

from rnnserve.export import Floats, Publication, UnsupportedModule, WrongArguments
from rnnserve.export.description.described_model import describe_model


class Keeps(nn.Module):
    """Goes on from a tuple of states with so many rows, as `init_hidden(rows)` makes one before each batch."""

    def __init__(self, rows):
        super().__init__()
        self.lstm = nn.LSTM(3, 4, batch_first=True)
        self.hidden = torch.zeros(1, rows, 4), torch.zeros(1, rows, 4)

    def forward(self, x):
        y, self.hidden = self.lstm(x, self.hidden)
        return y


class KeepsBuffer(nn.Module):
    h: torch.Tensor

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(3, 4)
        self.register_buffer("h", torch.zeros(1, 4))

    def forward(self, x):
        self.h = self.cell(x[:, 0], self.h.expand(x.size(0), -1))
        return self.h * 1.0


class Breaks(nn.Module):
    """Takes one row only, and stores what it computes."""

    def forward(self, x):
        self.weights = x.softmax(1)
        return x.view(-1, 3) + x.view(3, -1).sum(1) if x.size(0) == 1 else x.view(1, -1, 3, 7)


@pytest.mark.parametrize(
    ("make", "name"), [(lambda: Keeps(1), "hidden"), (lambda: Keeps(4), "hidden"), (KeepsBuffer, "h")]
)
def test_it_is_named(make, name):
    module = make().eval()
    publication = Publication(module, "keeps", {"x": Floats("batch", "sequence", 3)}, ["y"])
    with pytest.raises(UnsupportedModule, match=rf"keeps \['{name}'\] from one call.*state_attributes=\['{name}'\]"):
        describe_model(publication)


def test_what_is_no_state_is_not_named():
    publication = Publication(Breaks().eval(), "breaks", {"x": Floats("batch", "sequence", 3)}, ["y"])
    with pytest.raises(WrongArguments, match="does not take inputs as described"):
        describe_model(publication)
