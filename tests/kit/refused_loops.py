"""Loops over steps that cannot be captured as they are, and can be written as a scan: functions (module, x) -> tensors.

x is (batch, sequence, 3), the module `kit.looped_modules.Looped`.
"""

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["LONGER", "WRITTEN"]

WRITTEN: dict[str, Callable[..., Any]] = {}
"""Functions by what their loops are like."""

LONGER = "outputs until a break"
"""The one whose scan goes on after its loop ends."""


def loop(function):
    WRITTEN[function.__name__.replace("_", " ")] = function
    return function


@loop
def another_value_in_the_last_step(self, x):
    h = x[:, 0]
    for t in range(x.size(1)):
        h = h * 2 if t == x.size(1) - 1 else h + x[:, t]
    return h


@loop
def a_branch_on_values(self, x):
    h, outputs = x.new_zeros(x.size(0), 4), []
    for t, x_t in enumerate(x.unbind(1)):
        h = self.cell(x_t, h)
        # Both paths set two variables.
        if h.sum() > 0 and not t % 2 == 1:  # noqa: SIM201 - as it is written, mostly
            gate = torch.sigmoid(h)
            h = h * gate
        else:
            gate = torch.tanh(h)
        outputs.append(gate)
    return torch.stack(outputs, dim=1), h


@loop
def a_branch_that_is_left_with_continue(self, x):
    h = c = torch.zeros(x.size(0), 4)
    count = 0
    for a, b in zip(x.transpose(0, 1), x.flip(1).unbind(1), strict=True):
        if a.mean().item() < 0:
            continue
        h, c = self.pair(a - b, (h, c))
        count += 1
    return h, c * count


@loop
def a_sum_up_to_the_step(self, x):
    outputs = []
    for t in range(x.size(1)):
        total = x[:, :t].sum(1)
        outputs.append(total + x[:, t - 1])
    return torch.stack(outputs, 1)


@loop
def a_step_that_writes_to_its_input(self, x):
    h = x[:, 0]
    for x_t in x.clone().unbind(1):
        x_t += 1
        h = h + x_t
    return h, x_t


def made_elsewhere():
    return []


@loop
def a_list_of_another_function(self, x):
    outputs = made_elsewhere()
    for x_t in reversed(x.unbind(1)):
        outputs.append(x_t[:, None])
    return torch.cat(outputs, dim=1)


@loop
def layers_in_a_list(self, x):
    states = [x.new_zeros(x.size(0), 4) for _ in self.layers]
    output = x.new_zeros(x.size(0), x.size(1), 4)
    for t in range(x.size(1) - 1, -1, -1):
        each = x[:, t, :]
        for i, cell in enumerate(self.layers):
            states[i] = cell(each, states[i])
            if i > 0:
                states[i] = states[i] * 0.5
            each = states[i]
        if each.max() > 0.3:
            each = each - 0.1
        output[:, t] = each
    return output, states[-1]


@loop
def state_until_a_break(self, x):
    h = x.new_zeros(x.size(0), 4)
    for t in range(x.size(1)):
        h = self.cell(x[:, t], h)
        if h.max() > 0.25:
            break
        h = h * 0.9
    return h


@loop
def outputs_until_a_break(self, x):
    h, outputs = x.new_zeros(x.size(0), 4), []
    for t in range(x.size(1)):
        h = self.cell(x[:, t], h)
        outputs.append(h)
        if (h > 0.25).any():
            break
    return torch.stack(outputs, 1)
