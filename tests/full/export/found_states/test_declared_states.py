"""Modules that declare states and count steps besides: what goes on from the states, and what only seems so."""

import pytest
import torch
from torch import nn

from rnnserve.export import Floats, Integers, Lengths, Publication
from rnnserve.export.description.described_model import describe_model
from rnnserve.export.found_states.parts_file import find_parts
from rnnserve.export.model_onnx import to_onnx
from rnnserve.export.parity import OnnxRunner
from rnnserve.protos.artifact import MODEL

D, FIRST = 3, 600
H = {"h": Floats(1, "batch", ("hidden", D))}
POSITION = {"position": Integers("batch", high=4000)}


class Computed(nn.Module):
    """What a function makes of a GRU, the input (batch, sequence, 3), and states."""

    def __init__(self, compute):
        super().__init__()
        torch.manual_seed(0)
        self.compute = compute
        self.gru = nn.GRU(D, D, batch_first=True)
        self.cell = nn.GRUCell(D, D)
        self.conv = nn.Conv1d(D, D, 3)
        self.project = nn.Linear(D, D)
        self.positions = nn.Embedding(2 * 4096, D)

    def forward(self, *given):
        return self.compute(self, *given)


def published(compute, states, lengths=False):
    inputs = {"x": Floats("batch", "sequence", D), **({"lengths": Lengths()} if lengths else {}), **states}
    outputs = ["y", *(f"{name}_n" for name in states)]
    continued = {f"{name}_n": name for name in states}
    return Publication(Computed(compute).eval(), "m", inputs=inputs, outputs=outputs, states=continued)


def reason(*given, **more):
    described = describe_model(published(*given, **more))
    return find_parts(described, MODEL, {MODEL: to_onnx(described)}, OnnxRunner).record.not_continued


def after_gru(made):
    """Give a function that makes more of a GRU's output, and of its input."""

    def compute(module, x, h):
        y, h_n = module.gru(x, h)
        return made(module, x, y), h_n

    return compute


COUNTED = {
    "how many there are": (after_gru(lambda _, x, y: y * (x.size(1) < FIRST)), H),
}


@pytest.mark.parametrize("name", COUNTED)
def test_steps_that_are_counted_stand_in_the_way_of_declared_states(name):
    assert reason(*COUNTED[name]).endswith("in one trial of many steps")


def embedded(module, x, h, position):
    steps = position[:, None] + torch.arange(x.size(1))
    return *module.gru(x + module.positions(steps), h), steps[:, -1] + 1


def means(_, x, total, count):
    totals = total[:, None] + x.cumsum(1)
    counts = count[:, None] + torch.arange(1, x.size(1) + 1)
    return totals / counts[:, :, None], totals[:, -1], count + x.size(1)


def window(made):
    def compute(module, x, last):
        seen = torch.cat([last, x], 1)
        return made(module, seen), seen[:, -2:]

    return compute


def convolved(module, seen):
    return module.conv(module.project(seen).transpose(1, 2)).transpose(1, 2)


def masked(module, x, lengths, h):
    y, h_n = module.gru(x, h)
    return y * (torch.arange(x.size(1)) < lengths[:, None])[:, :, None], h_n


def packed(module, x, lengths, h):
    sequences = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    y, h_n = module.gru(sequences, h)
    return nn.utils.rnn.pad_packed_sequence(y, batch_first=True, total_length=x.size(1))[0], h_n


LAST = {"last": Floats("batch", ("window", 2), D)}
RIGHT = {
    "a position's embedding": (embedded, H | POSITION, {}),
    "means": (means, {"total": Floats("batch", D), "count": Integers("batch", high=999)}, {}),
    "a window that is convolved": (window(convolved), LAST, {}),
    "a mask of lengths": (masked, H, {"lengths": True}),
    "packed sequences": (packed, H, {"lengths": True}),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_what_declared_states_carry_goes_on(name):
    compute, states, more = RIGHT[name]
    assert reason(compute, states, **more) == ""
