"""Loops over steps as people write them: functions of a module with cells, and an input x (batch, sequence, 3).

Each is `forward` of a module by itself, or one of several that one forward calls.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

__all__ = ["LOOPS", "Looped", "loop"]

LOOPS: dict[str, Callable[..., Any]] = {}
"""Functions (module, x) -> tensors, by what their loops are like."""


def loop(name):
    def add(function):
        LOOPS[name] = function
        return function

    return add


class Looped(nn.Module):
    """Calls some of the loops, one after the other.

    Args:
        names: Which.
    """

    def __init__(self, names):
        super().__init__()
        self.names = list(names)
        self.cell, self.top, self.pair = nn.GRUCell(3, 4), nn.GRUCell(4, 4), nn.LSTMCell(3, 4)
        self.layers = nn.ModuleList([nn.GRUCell(3, 4), nn.GRUCell(4, 4)])
        self.weights = nn.Parameter(torch.randn(2, 3))
        self.kept = None

    def forward(self, x):
        return [LOOPS[name](self, x) for name in self.names]


@loop("range of size")
def _(self, x):
    h, outputs = x.new_zeros(x.size(0), 4), []
    for t in range(x.size(1)):
        h = self.cell(x[:, t], h)
        outputs.append(h)
    return torch.stack(outputs, 1), h


@loop("None before the first step")
def _(self, x):
    h, outputs = None, []
    for x_t in x.unbind(1):
        h = self.cell(x_t, h)
        outputs.append(h)
    return torch.stack(outputs, dim=1)


@loop("enumerated steps of a transposed tensor")
def _(self, x):
    state, outputs = (x.new_zeros(x.shape[0], 4),) * 2, []
    for t, x_t in enumerate(x.transpose(0, 1), 1):
        state = self.pair(x_t, state)
        outputs += [state[0] / t]
    return torch.stack(outputs).transpose(0, 1), state


@loop("a list of layers, changed in place")
def _(self, x):
    length, outputs = x.shape[1], []
    hidden = [torch.zeros(x.size(0), 4) for _ in self.layers]
    for t in range(length):
        each = x[:, t, :]
        for number, cell in enumerate(self.layers):
            each = hidden[number] = cell(each, hidden[number])
        outputs.append(each.unsqueeze(1))
    return torch.cat(outputs, dim=1), torch.stack(hidden), hidden[-1]


@loop("a new list of layers in each step")
def _(self, x):
    hidden, outputs = [None] * len(self.layers), []
    for t in range(x.size(1)):
        each, after = x[:, t], []
        for cell, h in zip(self.layers, hidden, strict=True):
            each = cell(each, h)
            after.append(each)
        hidden = after
        outputs.append(hidden[-1])
    return torch.stack(outputs, 1)


@loop("outputs written to a tensor")
def _(self, x):
    batch, length, _ = x.shape
    h, output = x.new_zeros(batch, 4), x.new_zeros(batch, length, 4)
    for t in range(length):
        h = self.cell(x[:, t], h)
        output[:, t] = h
    return output


@loop("from the last to the first")
def _(self, x):
    length, h, g = x.size(1), x.new_zeros(x.size(0), 4), x.new_zeros(x.size(0), 4)
    outputs, more = [], []
    for t in reversed(range(length)):
        h = self.cell(x[:, t], h)
        outputs.insert(0, h)
    for t in range(length - 1, -1, -1):
        g = self.cell(x[:, t], g)
        more.append(g)
    more.reverse()
    return (
        torch.stack(outputs, 1),
        torch.stack(more[::-1], 1),
        torch.cat([torch.stack(more, 1), outputs[0][:, None]], 1),
    )


@loop("both directions in one loop")
def _(self, x):
    forward, backward, length = [], [], x.size(1)
    h = g = x.new_zeros(x.size(0), 4)
    for t in range(length):
        h, g = self.cell(x[:, t], h), self.cell(x[:, length - 1 - t], g)
        forward.append(h)
        backward.append(g)
    return torch.stack([torch.cat(pair, -1) for pair in zip(forward, reversed(backward), strict=True)], 1)


@loop("another first step")
def _(self, x):
    outputs = []
    for t in range(x.size(1)):
        if t == 0:  # noqa: SIM108 - as it is written, mostly
            h = torch.tanh(x[:, 0])
        else:
            h = torch.tanh(x[:, t] + 0.5 * h)
        outputs.append(h)
    return torch.stack(outputs, 1)


@loop("from the second step")
def _(self, x):
    h = x[:, 0]
    outputs = [h]
    for t in range(1, x.size(1)):
        h = 0.5 * h + x[:, t] - x[:, t - 1]
        outputs.append(h)
    return torch.stack(outputs, 1), h


@loop("reads the output of the step before")
def _(self, x):
    alpha = torch.zeros_like(x)
    alpha[:, 0] = x[:, 0]
    for t in range(1, x.size(1)):
        alpha[:, t] = torch.tanh(alpha[:, t - 1]) + x[:, t]
    return alpha


@loop("a tensor of layers, changed in place")
def _(self, x):
    h, outputs = torch.zeros(2, x.size(0), 3), []
    for x_t in x.unbind(dim=1):
        h[0] = torch.tanh(h[0] + x_t)
        h[1] = torch.tanh(h[1] + h[0])
        outputs.append(h[1].clone())
    return torch.stack(outputs, 1), h


@loop("a dict, and a count")
def _(self, x):
    state, outputs = {"h": x.new_zeros(x.size(0), 4), "steps": 0}, []
    for x_t in x.split(1, dim=1):
        state["h"] = self.cell(x_t.squeeze(1), state["h"])
        state["steps"] += 1
        outputs.append(state["h"] / state["steps"])
    return torch.stack(outputs, -1), state["h"]


@loop("the last item of a list")
def _(self, x):
    outputs = [torch.zeros_like(x[:, 0])]
    for t in range(x.size(1)):
        outputs.append(torch.tanh(outputs[-1] + x[:, t]))
    return torch.stack(outputs[1:], 1), outputs[-1]


@loop("a comprehension")
def _(self, x):
    return torch.stack([torch.tanh(x[:, t]) * (t + 1) for t in range(x.size(1))], dim=1)


@loop("masked by lengths")
def _(self, x):
    lengths, h = (x[:, :, 0] > -0.3).sum(1), x.new_zeros(x.size(0), 4)
    for t in range(x.size(1)):
        h = torch.where((t < lengths).unsqueeze(1), self.cell(x[:, t], h), h)
    return h


@loop("a loop for each layer")
def _(self, x):
    steps = x.unbind(1)
    for layer in range(2):
        h, outputs = x.new_zeros(x.size(0), 3), []
        for i in range(len(steps)):
            h = torch.tanh(steps[i] + h * self.weights[layer])
            outputs.append(h)
        steps = outputs
    return torch.stack(steps, 1)


@loop("variables that are read after the loop")
def _(self, x):
    h = x.new_zeros(x.size(0), 4)
    for t, x_t in enumerate(x.unbind(1)):  # noqa: B007 - t is read after the loop
        before = torch.sigmoid(h)
        h = self.cell(x_t, h)
    return before, h, x_t * t


@dataclasses.dataclass
class State:
    h: torch.Tensor
    c: torch.Tensor


@loop("a dataclass")
def _(self, x):
    state = State(x.new_zeros(x.size(0), 4), x.new_zeros(x.size(0), 4))
    for x_t in x.chunk(x.size(1), dim=1):
        state.h, state.c = self.pair(x_t[:, 0], (state.h, state.c))
    return state.h, state.c


@loop("an attribute of the module")
def _(self, x):
    self.kept, outputs = x.new_zeros(x.size(0), 4), []
    for t in range(x.size(1)):
        self.kept = self.cell(x[:, t], self.kept)
        outputs.append(self.kept)
    return torch.stack(outputs, 1)


@loop("several sequences")
def _(self, x):
    h, outputs = x.new_zeros(x.size(0), 3), []
    for a, (b, c) in zip(x.unbind(1), zip(x.flip(1).unbind(1), x.exp().unbind(1), strict=True), strict=True):
        h = torch.tanh(h + a - b) * torch.sigmoid(c)
        outputs.append((h, h.sum(1)))
    whole, sums = zip(*outputs, strict=True)
    return torch.stack(whole, 1), torch.stack(sums, 1)


@loop("a loop within a loop")
def _(self, x):
    totals = []
    for t in range(x.size(1)):
        total = torch.zeros_like(x[:, 0])
        for s in range(x.size(1)):
            total = 0.5 * total + x[:, s] * x[:, t]
        totals.append(total)
    return torch.stack(totals, 1)


@loop("a number of another step")
def _(self, x):
    length, h, before = x.size(1), x.new_zeros(x.size(0), 3), x.new_zeros(x.size(0), 3)
    for t in range(length):
        h, before = torch.tanh(x[:, t] + before), h
    count = 0.0
    for x_t in x.unbind(1):
        count = count + x_t.sum(1)
    return h, before, count


@loop("continue, and a nested function")
def _(self, x):
    outputs, use_all = [], False

    def advance(h, t):
        return torch.tanh(h + x[:, t : t + 1].squeeze(1))

    h = torch.zeros(1, 3)
    for t in range(x.size(1)):
        h = advance(h, t)
        if not use_all:
            outputs.append(h)
            continue
        outputs.append(h * 2)
    return torch.stack(outputs, 1), outputs[0], len(outputs) * x


@loop("the middle of a sequence")
def _(self, x):
    h, outputs = x.new_zeros(x.size(0), 3), [x.new_zeros(x.size(0), 3)]
    for x_t in x.unbind(1)[1:]:
        h = torch.tanh(h + x_t)
        outputs.append(h)
    for t in range(x.size(1) - 1):
        h = h * 0.5 + x[:, t + 1] - x[:, t]
    return torch.stack(outputs, 1), h
