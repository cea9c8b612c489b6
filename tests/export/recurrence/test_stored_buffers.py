"""Buffers that a module writes to: those that nothing reads are left as they were, those that carry a state refused."""

import numpy as np
import pytest
import torch
from torch import nn

from kit.served_modules import Served, nasty, publication_of
from rnnserve.export import UnsupportedModule

STORED, CARRIED = {}, {}


def stored(forward):
    STORED[forward.__name__] = forward
    return forward


def carried(*names):
    def add(forward):
        CARRIED[forward.__name__] = (forward, list(names))
        return forward

    return add


class Writing(nn.Module):
    """A cell in a loop, and buffers of several shapes."""

    def __init__(self, forward):
        super().__init__()
        self.cell = nn.GRUCell(3, 4)
        self.way = forward
        for name in ("seen", "count", "steps", "memory"):
            self.register_buffer(name, torch.zeros(4))
        self.register_buffer("parts", torch.zeros(2, 4))

    def forward(self, x):
        return self.way(self, x)


@stored
def set_at_each_step_to_another_shape(self, x):
    h, outputs = x.new_zeros(x.size(0), 4), []
    for t in range(x.size(1)):
        h = self.cell(x[:, t], h)
        self.seen = h * 2
        outputs.append(h + self.seen)
    return torch.stack(outputs, 1)


@stored
def counted(self, x):
    h, outputs = x.new_zeros(x.size(0), 4), []
    for t in range(x.size(1)):
        h = self.cell(x[:, t], h)
        self.steps += 1
        outputs.append(h)
    self.count += 1
    self.count.mul_(2)
    return torch.stack(outputs, 1)


@stored
def written_over_first(self, x):
    self.memory.zero_()
    self.memory.add_(1).mul_(3)
    self.seen.copy_(self.memory)
    return x[..., :1] * self.seen


@stored
def written_in_parts(self, x):
    self.parts[0] = x.sum(2)[0, 0]
    self.parts[1] = self.parts[0] * 2 + self.count
    self.parts.copy_(self.parts + 1)
    return x * 2


@stored
def of_another_buffer(self, x):
    self.seen = self.seen + self.count
    self.count = self.count + x.sum()
    return x * 2


@carried("memory")
def read_through_another(self, x):
    self.memory.add_(1)
    self.seen.copy_(self.memory)
    return x[..., :1] * self.seen


@carried("memory", "steps")
def read_in_the_next_call_but_one(self, x):
    self.steps += 1
    y = x[..., :1] * self.memory
    self.memory = self.memory + self.steps
    return y


@carried("steps")
def counted_in_the_loop_and_read(self, x):
    h, outputs = x.new_zeros(x.size(0), 4), []
    for t in range(x.size(1)):
        h = self.cell(x[:, t], h)
        self.steps += 1
        outputs.append(h + self.steps)
    return torch.stack(outputs, 1)


@carried("parts")
def read_where_it_was_not_written(self, x):
    self.parts[0] = x.sum(2)[0, 0]
    return x[..., :1] * self.parts.sum(0)


@carried("memory")
def made_anew_for_other_rows(self, x):
    if self.memory.dim() == 1 or self.memory.size(0) != x.size(0):
        self.memory = x.new_zeros(x.size(0), 4)
    self.memory = self.cell(x[:, 0], self.memory)
    return self.memory * 1


@pytest.mark.parametrize("name", STORED)
def test_buffers_that_no_result_depends_on_are_left_as_they_were(name, exported):
    torch.manual_seed(0)
    module = Writing(STORED[name])
    before = {key: value.clone() for key, value in module.named_buffers()}
    result = exported(module, (torch.randn(3, 4, 3),), ({0: "batch", 1: "sequence"},))
    for key, value in before.items():
        module._buffers[key] = value
    for sizes in ((1, 1), (1, 1), (2, 7), (2, 7)):  # the second call finds what the first has left
        result.agrees(torch.randn(*sizes, 3))


@pytest.mark.parametrize("name", CARRIED)
def test_buffers_that_a_result_of_the_next_call_depends_on_are_refused_by_name(name, exported):
    forward, buffers = CARRIED[name]
    with pytest.raises(UnsupportedModule) as raised:
        exported(Writing(forward), (torch.randn(3, 4, 3),), ({0: "batch", 1: "sequence"},))
    said = str(raised.value)
    assert any(f"keeps ['{buffer}'] from one call to the next" in said for buffer in buffers)
    assert "state_attributes=" in said
    assert "\n" not in said


class Field(nn.Module):
    """As a neural field of Amari: potentials with a rest, and stimuli that are kept for others to look at."""

    first: torch.Tensor

    def __init__(self):
        super().__init__()
        self.embedding = nn.Linear(3, 6, bias=False)
        self.weight = nn.Parameter(torch.randn(6, 6) / 3)
        self.rest = nn.Parameter(torch.randn(6))
        self.register_buffer("external", torch.zeros(6), persistent=False)
        self.register_buffer("internal", torch.zeros(6), persistent=False)
        self.register_buffer("first", -7 * torch.ones(1, 6), persistent=False)

    def one_step(self, x_t, u):
        self.external = self.embedding(x_t)
        self.internal = torch.sigmoid(u + self.rest) @ self.weight
        if self.external.shape != self.internal.shape:
            raise RuntimeError("shapes differ")
        change = self.external + self.internal + self.rest - u + 0.01 * (self.rest - u) ** 3
        return (u + change / 10).clamp(-100, 100)

    def forward(self, x):
        u, potentials = self.first.repeat(x.size(0), 1), []
        for x_t in x.permute(1, 0, 2):
            u = self.one_step(x_t, u)
            potentials.append(u)
        return torch.stack(potentials, 1)


def test_a_field_that_keeps_its_stimuli_is_served_with_its_own_values(tmp_path):
    torch.manual_seed(1)
    served = Served(publication_of(Field(), "field"), tmp_path)
    rng = np.random.default_rng(2)
    served.check([*nasty(rng, (1, 13, 3)).values(), *nasty(rng, (1, 1, 3)).values()])
