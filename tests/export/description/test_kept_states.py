"""A module that keeps its state from one call to the next is refused, and the attribute is named."""

import pytest
import torch
from torch import nn

from rnnserve.export import Floats, Publication, UnsupportedModule, WrongArguments
from rnnserve.export.description.described_model import describe_model


class Keeps(nn.Module):
    """Goes on from a tuple of states for so many rows, as `init_hidden(rows)` makes one before each batch."""

    def __init__(self, rows):
        super().__init__()
        self.lstm = nn.LSTM(3, 4, batch_first=True)
        self.hidden = torch.zeros(1, rows, 4), torch.zeros(1, rows, 4)

    def forward(self, x):
        y, self.hidden = self.lstm(x, self.hidden)
        return y


class KeepsBuffer(nn.Module):
    hidden: torch.Tensor

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(3, 4)
        self.register_buffer("hidden", torch.zeros(1, 4))

    def forward(self, x):
        self.hidden = self.cell(x[:, 0], self.hidden.expand(x.size(0), -1))
        return self.hidden * 1.0


class Breaks(nn.Module):
    """Takes one row only, and stores what it computes."""

    def forward(self, x):
        self.weights = x.softmax(1)
        return x.view(-1, 3) + x.view(3, -1).sum(1) if x.size(0) == 1 else x.view(1, -1, 3, 7)


X = {"x": Floats("batch", "sequence", 3)}


@pytest.mark.parametrize("make", [lambda: Keeps(1), lambda: Keeps(4), KeepsBuffer])
def test_kept_state_is_named(make):
    message = r"keeps \['hidden'\] from one call.*state_attributes=\['hidden'\]"
    with pytest.raises(UnsupportedModule, match=message):
        describe_model(Publication(make().eval(), "keeps", X, ["y"]))


def test_stored_result_is_no_kept_state():
    with pytest.raises(WrongArguments, match="does not take inputs as described"):
        describe_model(Publication(Breaks().eval(), "breaks", X, ["y"]))
