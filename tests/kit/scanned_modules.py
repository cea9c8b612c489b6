"""Cells and modules for the tests of `scan`."""

from typing import Any

import torch
from torch import nn

__all__ = ["CELLS", "TWO_STATES", "module_of"]


class NormalisedLSTMCell(nn.Module):
    """LSTM with layer normalisation of the gates and of the cell state, written by hand."""

    def __init__(self, features, hidden):
        super().__init__()
        self.hidden_size = hidden
        self.input, self.state = nn.Linear(features, 4 * hidden), nn.Linear(hidden, 4 * hidden, bias=False)
        self.norms = nn.ModuleList(nn.LayerNorm(size) for size in (4 * hidden, 4 * hidden, hidden))

    def forward(self, x, state):
        h, c = state
        gates = self.norms[0](self.input(x)) + self.norms[1](self.state(h))
        i, f, g, o = gates.chunk(4, dim=1)
        c = self.norms[2](torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g))
        return torch.sigmoid(o) * torch.tanh(c), c


class NormalisedCell(nn.Module):
    """One state, written by hand."""

    def __init__(self, features, hidden):
        super().__init__()
        self.hidden_size = hidden
        self.map, self.norm = nn.Linear(features + hidden, hidden), nn.LayerNorm(hidden)

    def forward(self, x, h):
        return torch.tanh(self.norm(self.map(torch.cat((x, h), dim=1))))


CELLS: dict[str, Any] = {
    "tanh": nn.RNNCell,
    "relu": lambda inputs, hidden: nn.RNNCell(inputs, hidden, nonlinearity="relu"),
    "gru": nn.GRUCell,
    "lstm": nn.LSTMCell,
    "normalised lstm": NormalisedLSTMCell,
    "normalised": NormalisedCell,
}
# Their state is a pair.
TWO_STATES = (nn.LSTMCell, NormalisedLSTMCell)


def module_of(forward, **members):
    """A module with these members and this `forward`."""

    class Module(nn.Module):
        def __init__(self):
            super().__init__()
            for name, member in members.items():
                setattr(self, name, member)

    Module.forward = forward
    return Module().eval()
