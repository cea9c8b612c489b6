"""Buffers and attributes that calls write to, and code that asks for the numbers that a module holds."""

import torch
from torch import nn

from kit.corpus.rows import Family, Members, floats


class Writing(Members):
    """A cell in a loop, and buffers of several shapes."""

    def __init__(self):
        super().__init__()
        for name in ("seen", "count", "steps", "memory"):
            self.register_buffer(name, torch.zeros(4))


BUFFERS = Family("buffers", Writing, is_located=False)
right, core, refused = BUFFERS.right, BUFFERS.core, BUFFERS.refused


@core(together=1)  # two loops that write to buffers are refused together
def counted(self, x):
    h, outputs = x.new_zeros(x.size(0), 4), []
    for t in range(x.size(1)):
        h = self.cell(x[:, t], h)
        self.steps += 1
        outputs.append(h)
    self.count += 1
    self.count.mul_(2)
    return torch.stack(outputs, 1)


@right
def written_over_first(self, x):
    self.memory.zero_()
    self.memory.add_(1).mul_(3)
    self.seen.copy_(self.memory)
    return x[..., :1] * self.seen


@refused(r"keeps \['memory', 'steps'\] from one call to the next.*state_attributes=")
def read_in_the_next_call_but_one(self, x):
    self.steps += 1
    y = x[..., :1] * self.memory
    self.memory = self.memory + self.steps
    return y


@refused(is_core=True, phrase=r"keeps \['(steps)'\] from one call to the next.*state_attributes=")
def counted_in_the_loop_and_read(self, x):
    h, outputs = x.new_zeros(x.size(0), 4), []
    for t in range(x.size(1)):
        h = self.cell(x[:, t], h)
        self.steps += 1
        outputs.append(h + self.steps)
    return torch.stack(outputs, 1)


@refused(r"keeps \['(memory)'\] from one call to the next.*state_attributes=")
def made_anew_for_other_rows(self, x):
    if self.memory.dim() == 1 or self.memory.size(0) != x.size(0):
        self.memory = x.new_zeros(x.size(0), 4)
    self.memory = self.cell(x[:, 0], self.memory)
    return self.memory * 1


@core
class Resized(nn.Module):
    """A number of rows in an attribute, which is set if the input has another."""

    def __init__(self):
        super().__init__()
        self.rows = 1

    def forward(self, x):
        if self.rows != x.size(0):
            self.rows = x.size(0)
        h, outputs = x.new_zeros(self.rows, 3), []
        for x_t in x.unbind(1):
            h = torch.tanh(0.9 * h + x_t)
            outputs.append(h)
        return torch.stack(outputs, 1)


class Asking(nn.Module):
    """A step that asks, with buffers."""

    def __init__(self, way):
        super().__init__()
        self.way = way
        self.linear = nn.Linear(4, 4)
        self.register_buffer("layers", torch.tensor(2))
        self.register_buffer("is_residual", torch.tensor(True))
        self.register_buffer("last", torch.zeros(1, 4))

    def forward(self, x, h):
        return self.way(self, x, h)


class Once(nn.Module):
    """Asks once, after a layer."""

    def __init__(self, way):
        super().__init__()
        self.cell, self.gru = Asking(way), nn.GRU(4, 4, batch_first=True)

    def forward(self, x):
        return self.cell(x, self.gru(x)[0])


# Not beside modules that write to buffers: which values depend on no argument is found of the whole export.
HELD_VALUES = Family("held values", arguments=(floats("batch", "sequence", 4),), together=4)


def asks(way):
    """Add a row of a cell that asks for a value."""
    HELD_VALUES.add(f"once, {way.__name__.replace('_', ' ')}", lambda: Once(way), is_core=True)


@asks
def by_a_flag(self, x, h):
    return self.linear(x) + h if self.is_residual else h


@asks
def as_an_index(self, x, h):
    return self.linear(x) + h * [1.0, 2.0, 3.0][self.layers]


def keeps_what_it_computed(self, x, h):
    if self.last.sum() == 0:
        h = h + 1
    self.last = self.linear(x)[..., -1:, :].reshape(-1, 4)
    return self.linear(x) + h


HELD_VALUES.add(
    "keeps what it computed",
    lambda: Once(keeps_what_it_computed),
    refused=r"keeps \['cell.last'\] from one call to the next",
    is_located=False,
)
