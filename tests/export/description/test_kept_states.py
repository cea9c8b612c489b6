"""Modules that keep a state of some rows, or one that begins with what is computed: told, with what to write."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rnnserve.client import Client
from rnnserve.export import Floats, Integers, Publication, StateTree, UnsupportedModule, WrongArguments, publish
from rnnserve.export.description.described_model import describe_model
from rnnserve.server.testing import serve


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


class Smooth(nn.Module):
    """Begins with its first step's own values."""

    def __init__(self):
        super().__init__()
        self.mem = None

    def forward(self, x):
        self.mem = x if self.mem is None else 0.8 * self.mem + 0.2 * x
        return self.mem * 1.0


class Counted(nn.Module):
    """The same from zeros, as the warning says."""

    def __init__(self):
        super().__init__()
        self.mem = self.steps = None

    def forward(self, x):
        if self.steps is None:
            self.mem, self.steps = torch.zeros_like(x), torch.zeros(x.size(0), dtype=torch.int64)
        self.mem = torch.where((self.steps == 0).unsqueeze(1), x, 0.8 * self.mem + 0.2 * x)
        self.steps = (self.steps + 1).clamp(max=1)
        return self.mem * 1.0


def test_an_attribute_that_no_server_can_begin_is_told(tmp_path):
    x = {"x": Floats("batch", 3)}
    smooth = Publication(Smooth(), "smooth", x, ["y"], state_attributes=["mem"])
    with pytest.warns(UserWarning, match=r'has to send "mem".*torch\.where\(self\.steps == 0'):
        publish(smooth, repository=tmp_path, progress=False)
    held: dict[str, Any] = {"mem": StateTree(), "steps": Integers("batch", high=2)}
    publish(Publication(Counted(), "counted", x, ["y"], state_attributes=held), repository=tmp_path, progress=False)
    points = np.array([[1, 2, 3], [3, 2, 1], [0, 0, 5]], np.float32)
    with serve(tmp_path) as server, Client(server.address) as client, client.session("counted") as session:
        found = [session.step(point)["y"] for point in points]
    module = Smooth()
    expected = [module(torch.from_numpy(point[None]))[0].numpy() for point in points]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
