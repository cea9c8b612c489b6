"""Decoders, whose outputs have a length of their own, and states of `arange`: exported, or told in a line."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from kit.served_modules import Served, nasty, publication_of
from rnnserve.export import ExportError, Floats, Lengths, publish


class Decoder(nn.Module):
    """An encoder, and a loop of its own number of steps.

    Args:
        way: What forward does.
    """

    def __init__(self, way, most=5):
        super().__init__()
        self.way, self.most = way, most
        self.encoder, self.cell = nn.GRU(3, 4, batch_first=True), nn.GRUCell(4, 4)
        self.embedding, self.out = nn.Embedding(7, 4), nn.Linear(4, 7)

    def forward(self, x):
        return self.way(self, x)


def attribute(self, x):
    h = y = self.encoder(x)[1][0]
    outputs = []
    for _ in range(self.most):
        y = h = self.cell(y, h)
        outputs.append(self.out(y))
    return torch.stack(outputs, 1)


def greedy(self, x):
    h = self.encoder(x)[1][0]
    token = torch.zeros(x.size(0), dtype=torch.long)
    ids, scores = torch.zeros(x.size(0), 6, dtype=torch.long), x.new_zeros(x.size(0), 6, 7)
    for step in range(6):
        h = self.cell(self.embedding(token), h)
        scores[:, step] = self.out(h)
        token = scores[:, step].argmax(-1)
        ids[:, step] = token
    return scores, ids


def ended(self, x):
    """Rows that have ended go on with the last token, and the number of steps of each is another output."""
    h = self.encoder(x)[1][0]
    token, steps = torch.ones(x.size(0), dtype=torch.long), torch.zeros(x.size(0), dtype=torch.long)
    ids = []
    while len(ids) < self.most:
        h = self.cell(self.embedding(token), h)
        token = torch.where(token == 0, token, self.out(h).argmax(-1))
        steps = steps + (token != 0)
        ids.append(token)
    return torch.stack(ids, 1), steps


def twice(self, x):
    h, outputs = self.encoder(x)[1][0], []
    for _ in range(2 * x.size(1) + 1):
        h = self.cell(h, h)
        outputs.append(h)
    return torch.stack(outputs, 1)


def counter(self, x):
    position, h, outputs = torch.arange(4), x.new_zeros(x.size(0), 4), []
    for t in range(x.size(1)):
        h = torch.tanh(h * 0.5 + x[:, t, :1] + position * 0.1)
        position = position + 1
        outputs.append(h)
    return torch.stack(outputs, 1)


def turned(self, x):
    positions, outputs = torch.arange(x.size(1)), []
    for t in range(x.size(1)):
        weights = torch.softmax(-(positions - t).abs().float(), 0)
        positions = positions.roll(1)
        outputs.append((x * weights[None, :, None]).sum(1))
    return torch.stack(outputs, 1)


def rows(self, x):
    row, h, outputs = torch.arange(x.size(0)), x.new_zeros(x.size(0), 3), []
    for t in range(x.size(1)):
        h = torch.tanh(h * 0.5 + x[row, t])
        outputs.append(h)
    return torch.stack(outputs, 1)


LENGTHS = {attribute: 5, greedy: 6, ended: 5, twice: None, counter: None, turned: None, rows: None}


@pytest.mark.filterwarnings("ignore:the function at test_own_lengths")  # of what is written as a scan
@pytest.mark.parametrize("way", LENGTHS)
def test_values_are_those_of_eager_at_other_sizes(way, exported):
    torch.manual_seed(0)
    result = exported(Decoder(way), (torch.randn(3, 4, 3),), ({0: "batch", 1: "sequence"},))
    for sizes in ((1, 1), (1, 7), (5, 2), (2, 50)):
        for x in (torch.randn(*sizes, 3), torch.zeros(*sizes, 3), torch.ones(*sizes, 3) * 300):
            result.agrees(x, limit=3e-6 * max(1, float(x.abs().max())))
    if LENGTHS[way] is not None:
        assert result.axes("outputs")[0][1] == LENGTHS[way]


def test_a_decoder_of_its_own_length_is_served_with_its_own_values(tmp_path):
    torch.manual_seed(1)
    served = Served(publication_of(Decoder(greedy), "greedy", ["scores", "ids"]), tmp_path)
    rng = np.random.default_rng(2)
    served.check([*nasty(rng, (1, 13, 3)).values(), *nasty(rng, (1, 1, 3)).values()])


class Of(nn.Module):
    """As many steps as `lengths` or values say."""

    def __init__(self, way):
        super().__init__()
        self.way, self.cell = way, nn.GRUCell(3, 3)

    def forward(self, x, lengths):
        return self.way(self, x, lengths)


def until_all_have_ended(self, x, lengths):
    h, outputs = x[:, 0] * lengths[:, None], []
    while len(outputs) < 8:
        h = self.cell(h, h)
        outputs.append(h)
        if (h.sum(1) > 0).all():
            break
    return torch.stack(outputs, 1)


@pytest.mark.parametrize(
    ("way", "said"),
    [
        (until_all_have_ended, r"Values decide its size: give as many steps for all values, and the number"),
    ],
)
def test_lengths_that_values_decide_are_refused_in_a_line(way, said, tmp_path, capfd):
    torch.manual_seed(0)
    inputs = {"x": Floats("batch", "sequence", 3), "lengths": Lengths()}
    with pytest.raises(ExportError, match=said) as raised:
        publish(Of(way).eval(), "m", repository=tmp_path, inputs=inputs, outputs=["y"], progress=False)
    assert "\n" not in str(raised.value)
    assert not re.search(r"Graph\(|graph\(", "".join(capfd.readouterr()))
