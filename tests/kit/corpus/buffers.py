"""Buffers and attributes that calls write to, and code that asks for the numbers that a module holds."""

import torch
from torch import nn

from kit.corpus.rows import Family, floats

__all__ = ["BUFFERS", "HELD_VALUES"]


class Writing(nn.Module):
    """A cell in a loop, and buffers of several shapes."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(3, 4)
        for name in ("seen", "count", "steps", "memory"):
            self.register_buffer(name, torch.zeros(4))
        self.register_buffer("parts", torch.zeros(2, 4))


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


@right
def read_where_it_was_not_written(self, x):
    self.parts[0] = x.sum(2)[0, 0]
    return x[..., :1] * self.parts.sum(0)


@refused(r"keeps \['(memory)'\] from one call to the next.*state_attributes=")
def made_anew_for_other_rows(self, x):
    if self.memory.dim() == 1 or self.memory.size(0) != x.size(0):
        self.memory = x.new_zeros(x.size(0), 4)
    self.memory = self.cell(x[:, 0], self.memory)
    return self.memory * 1


class Keeping(nn.Module):
    """A loop over steps whose state is an attribute.

    Args:
        initial: Its value before the first call.
        ending: Function that gives the value after a call, of the module and its input.
    """

    def __init__(self, initial, ending):
        super().__init__()
        self.state, self.ending = initial, ending

    def forward(self, x):
        for step in x.unbind(1):
            self.state = torch.tanh(self.state + step.sum(0))
        y = self.state * 1
        self.state = self.ending(self, x)
        return y


def like_it(module, _):
    return torch.zeros_like(module.state)


def keep(name, ending, initial=(0.0, 0.0, 0.0), **more):
    BUFFERS.add(name, lambda: Keeping(torch.tensor(initial), ending), together=1, **more)


KEPT = r"keeps \['state'\] from one call to the next"
keep("put back to zeros like it", like_it)
keep("left as computed", lambda module, _: module.state, refused=KEPT)
keep("left as another shape than the first", lambda _, x: x.new_zeros(3), (0.0,))


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
    """A step that asks, with buffers and a parameter."""

    def __init__(self, way):
        super().__init__()
        self.way = way
        self.linear = nn.Linear(4, 4)
        self.register_buffer("input_size", torch.Tensor([4]))
        self.register_buffer("hidden_size", torch.Tensor([8]))
        self.register_buffer("layers", torch.tensor(2))
        self.register_buffer("is_residual", torch.tensor(True))
        self.register_buffer("calls", torch.tensor(0))
        self.register_buffer("last", torch.zeros(1, 4))
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, x, h):
        return self.way(self, x, h)


class Once(nn.Module):
    """Asks once, after a layer."""

    def __init__(self, way):
        super().__init__()
        self.cell, self.gru = Asking(way), nn.GRU(4, 4, batch_first=True)

    def forward(self, x):
        return self.cell(x, self.gru(x)[0])


class EachStep(nn.Module):
    """Asks in each step."""

    def __init__(self, way):
        super().__init__()
        self.cell = Asking(way)

    def forward(self, x):
        h, outputs = x.new_zeros(x.size(0), 4), []
        for t in range(x.size(1)):
            h = self.cell(x[:, t], h) * 0.1
            outputs.append(h)
        return torch.stack(outputs, 1)


# Not beside modules that write to buffers: which values depend on no argument is found of the whole export.
HELD_VALUES = Family("held values", arguments=(floats("batch", "sequence", 4),), together=4)


def asks(way):
    """Add rows of a cell that asks for a value: once, and in each step, for which one way is as good as another."""
    name = way.__name__.replace("_", " ")
    HELD_VALUES.add(f"once, {name}", lambda: Once(way), is_core=name in ("by a flag", "as an index"))
    if name == "by equality and left early":
        HELD_VALUES.add(f"in each step, {name}", lambda: EachStep(way))


@asks
def by_equality_and_left_early(self, x, h):
    if self.input_size == self.hidden_size:
        return x + h
    return torch.tanh(self.linear(x)) + h


@asks
def by_a_flag(self, x, h):
    return self.linear(x) + h if self.is_residual else h


@asks
def as_a_number_of_layers(self, x, h):
    for _ in range(int(self.layers)):
        h = torch.tanh(self.linear(x) + h)
    return h


@asks
def as_an_index(self, x, h):
    return self.linear(x) + h * [1.0, 2.0, 3.0][self.layers]


@asks
def as_a_list_and_an_array(self, x, h):
    return self.linear(x) * self.input_size.tolist()[0] + h * float(self.hidden_size.numpy()[0])


@asks
def of_what_is_computed(self, x, h):
    parts = torch.cat([self.input_size * 2, self.hidden_size]).clone()
    if torch.equal(parts[:1], parts[1:]) and self.linear.bias.abs().amax().item() < 100:
        h = h * self.scale
    return self.linear(x) + h


@asks
def of_a_copy_that_is_written_to(self, x, h):
    copied = self.hidden_size.clone()
    copied[0] = 1.0
    return self.linear(x) + h * (self.hidden_size - copied).sum()


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
