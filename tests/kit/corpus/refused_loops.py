"""Loops that few would write as a scan: some are exported all the same, and the others refused with their line."""

import collections
import functools
import math
import warnings

import torch
from torch import nn

from kit.corpus.loops import Cells
from kit.corpus.rows import Family

# ruff: noqa: SIM201 - the statements of users' modules, as they are


class ManyCells(Cells):
    def __init__(self):
        super().__init__()
        self.linears = nn.ModuleList([nn.Linear(3, 3) for _ in range(9)])


REFUSED_LOOPS = Family("refused loops", ManyCells)
right, core, refused = REFUSED_LOOPS.right, REFUSED_LOOPS.core, REFUSED_LOOPS.refused


@refused(r"depends on the values", is_core=True)
def a_branch_on_values(self, x):
    h, outputs = x.new_zeros(x.size(0), 4), []
    for t, x_t in enumerate(x.unbind(1)):
        h = self.cell(x_t, h)
        # Both paths set two variables.
        if h.sum() > 0 and not t % 2 == 1:
            gate = torch.sigmoid(h)
            h = h * gate
        else:
            gate = torch.tanh(h)
        outputs.append(gate)
    return torch.stack(outputs, dim=1), h


@refused(r"depends on the values of a tensor \(at refused_loops\.py:\d+\).*torch\.where")
def a_branch_on_values_without_an_else(self, x):
    h = x[:, 0]
    for x_t in x.unbind(1):
        if h.sum() > 0:
            h = h + x_t
    return h


@refused(r"torch\.where\(torch\.arange\(n\) < t")
def a_sum_up_to_the_step(self, x):
    outputs = []
    for t in range(x.size(1)):
        total = x[:, :t].sum(1)
        outputs.append(total + x[:, t - 1])
    return torch.stack(outputs, 1)


@refused(r"depends on the values", is_core=True)
def state_until_a_break(self, x):
    h = x.new_zeros(x.size(0), 4)
    for t in range(x.size(1)):
        h = self.cell(x[:, t], h)
        if h.max() > 0.25:
            break
        h = h * 0.9
    return h


@refused("ends a loop.*number of valid steps of each row", is_core=True)
def outputs_until_a_break(self, x):
    h, outputs = x.new_zeros(x.size(0), 4), []
    for t in range(x.size(1)):
        h = self.cell(x[:, t], h)
        outputs.append(h)
        if (h > 0.25).any():
            break
    return torch.stack(outputs, 1)


@core
def returns(self, x):
    h = x[:, 0]
    for x_t in x.unbind(1):
        h = torch.tanh(h + x_t)
        if self.training is False:
            return h
    return h


@refused(r"do not repeat the computation of fewer steps")
def another_module_in_each_step(self, x):
    h = x[:, 0]
    for t in range(x.size(1)):
        h = self.linears[t](h)
    return h


@refused(r"Write torch\.arange\(n\), not")
def positions_from_a_list(_, x):
    return x + torch.tensor(list(range(x.size(1)))).unsqueeze(1)


@refused(r"torch\.tensor\(n\)\.sqrt\(\)")
def a_root_of_the_number_of_steps(_, x):
    return x / math.sqrt(x.size(1))


@refused(r"with an axis for the iterations\.$")
def distances_that_double(_, x):
    distance = 1
    while distance < x.size(1):
        x = x + nn.functional.pad(x[:, :-distance], (0, 0, distance, 0))
        distance *= 2
    return x


@refused(r"do not repeat the computation of fewer steps", is_core=True)
def a_state_that_grows(self, x):
    h = x[:, :1]
    for t in range(x.size(1)):
        h = torch.cat([h, x[:, t : t + 1] + h.mean(1, keepdim=True)], 1)
    return h


@refused(r"a list that grows, use a tensor with all steps")
def attention_over_a_list_that_grows(self, x):
    h, past, outputs = x.new_zeros(x.size(0), 4), [], []
    for t in range(x.size(1)):
        past.append(h)
        keys = torch.stack(past, 1)
        weights = (keys * h.unsqueeze(1)).sum(2).softmax(1)
        h = self.cell(x[:, t], (weights.unsqueeze(2) * keys).sum(1))
        outputs.append(h)
    return torch.stack(outputs, 1)


@right
def attention_over_a_tensor_with_all_steps(self, x):
    h, past, outputs = x.new_zeros(x.size(0), 4), x.new_zeros(x.size(0), x.size(1), 4), []
    for t in range(x.size(1)):
        past[:, t] = h
        weights = (past * h.unsqueeze(1)).sum(2)
        weights = weights.masked_fill(torch.arange(x.size(1)) > t, -1e9).softmax(1)
        h = self.cell(x[:, t], (weights.unsqueeze(2) * past).sum(1))
        outputs.append(h)
    return torch.stack(outputs, 1)


@right
def one_tensor_in_a_list(self, x):
    h, outputs = torch.zeros_like(x[:, 0]), []
    for x_t in x.unbind(1):
        h += x_t
        outputs.append(h)
    return torch.stack(outputs, 1)


@refused(r"torch\.vmap")
def vmap(self, x):
    h = x[:, :1].expand(-1, 2, -1)
    for x_t in x.unbind(1):
        h = torch.vmap(lambda w, each: each * w, in_dims=(0, 1), out_dims=1)(self.weights, h) + x_t.unsqueeze(1)
    return h


@right
def a_deque_that_grows(self, x):
    last, outputs = collections.deque(maxlen=3), []
    for x_t in x.unbind(1):
        last.append(x_t)
        outputs.append(sum(last))
    return torch.stack(outputs, 1)


@refused("do not repeat the computation of fewer steps|fail for some", is_located=False)
def a_state_of_another_shape_before_the_first_of_more_steps(self, x):
    h, outputs = x.new_zeros(1, x.size(0), 4), []
    for x_t in torch.cat([x[:, 2::3], x], 1).unbind(1):
        h = self.cell(x_t, h.reshape(-1, 4))
        outputs.append(h)
    return torch.stack(outputs, 1)


def of_all_steps(name, change=lambda h, _: h, end=lambda h, _: h, **more):
    """Add a loop whose steps another function changes, or whose outputs all at once."""

    def forward(self, x):
        h, outputs = x.new_zeros(x.size(0), 4), []
        for t in range(x.size(1)):
            h = change(self.cell(x[:, t], h), t)
            outputs.append(h)
        return end(torch.stack(outputs, 1), x)

    forward.__name__ = name
    REFUSED_LOOPS.right(forward, **more)


CONDITION = r"refused_loops\.py:\d+\) has a condition on the axis"
UNLIKE = r"can be exported if all its steps do the same|returns other values"
of_all_steps("the last steps", end=lambda h, _: h[:, -20:].sum(1), refused=CONDITION)
unlike = functools.partial(of_all_steps, refused=UNLIKE, is_located=False)
unlike("one step that is unlike", lambda h, t: h * 2 if t == 700 else h)
of_all_steps(
    "a condition that bounds keep out",
    end=lambda h, x: h * (2 if x.size(1) > 256 else 1),
    bounds=(("sequence", (1, 256)),),
)


def repeated(x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    outputs: list[torch.Tensor] = []
    for t in range(x.size(1)):
        h = torch.tanh(x[:, t] + 0.5 * h)
        outputs.append(h)
    return torch.stack(outputs, 1)


def gated(x: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(x) * repeated(x, x[:, 0])


with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    repeated, gated = torch.jit.script(repeated), torch.jit.script(gated)


@right
class LoopsOfScriptedFunctions(nn.Module):
    """As several packages have their recurrences: compiled for speed, and called by a module of Python."""

    gate = staticmethod(gated)

    def forward(self, x):
        return repeated(x, x.new_zeros(x.size(0), 3)), self.gate(x)


@core
def while_without_a_counter(self, x):
    h, hidden = x.new_zeros(x.size(0), 4), []
    while len(hidden) < x.size(1):
        h = self.cell(x[:, len(hidden)], h)
        hidden.append(h)
    return torch.stack(hidden, 1)


class Decoder(nn.Module):
    """An encoder, and a loop with another number of steps."""

    most = 5

    def __init__(self):
        super().__init__()
        self.encoder, self.cell = nn.GRU(3, 4, batch_first=True), nn.GRUCell(4, 4)
        self.out = nn.Linear(4, 7)


DECODERS = Family("decoders", Decoder)
right, core, refused = DECODERS.right, DECODERS.core, DECODERS.refused


@core
def steps_of_an_attribute(self, x):
    h = y = self.encoder(x)[1][0]
    outputs = []
    for _ in range(self.most):
        y = h = self.cell(y, h)
        outputs.append(self.out(y))
    return torch.stack(outputs, 1)


@right
def twice_as_many_steps(self, x):
    h, outputs = self.encoder(x)[1][0], []
    for _ in range(2 * x.size(1) + 1):
        h = self.cell(h, h)
        outputs.append(h)
    return torch.stack(outputs, 1)


@refused(r"'if .*ends a loop.*number of valid steps of each row", is_core=True)
def until_all_have_ended(self, x):
    h, outputs = self.encoder(x)[1][0], []
    for _ in range(5):
        h = torch.tanh(h)
        outputs.append(h)
        if (h.abs() < 0.1).all():
            break
    return torch.stack(outputs, 1)
