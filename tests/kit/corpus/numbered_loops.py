"""Loops over steps that are counted, strided or numbered in another way, and lists that are read and set by number."""

import math
from typing import Any

import torch
from torch import nn

from kit.corpus.loops import Cells
from kit.corpus.rows import Family

NUMBERED_LOOPS = Family("numbered loops", Cells)
right, core, refused = NUMBERED_LOOPS.right, NUMBERED_LOOPS.core, NUMBERED_LOOPS.refused


@core
def while_with_a_counter(self, x):
    h, outputs, t, length = x.new_zeros(x.size(0), 4), [], 0, x.size(1)
    while t < length:
        x_t = x[:, t]
        t += 1
        h = self.cell(x_t, h / t)
        outputs.append(h)
    back = x.new_zeros(x.size(0), 4)
    while t > 0:
        t = t - 1
        back = self.cell(x[:, t], back)
    return torch.stack(outputs, 1), back, t * x


@core
def a_list_of_as_many_items_as_steps(self, x):
    length = x.size(1)
    outputs: list[Any] = [None] * length
    backwards: list[Any] = [None for _ in range(length)]
    others: list[Any] = length * [0]
    h = g = x.new_zeros(x.size(0), 4)
    for t in range(length):
        h = self.cell(x[:, t], h)
        outputs[t] = h
    for t in reversed(range(length)):
        g = self.cell(x[:, t], g)
        backwards[t] = g
    for t, x_t in enumerate(x.unbind(1)):
        others[t] = x_t if t == 0 else others[t - 1] * 0.5 + x_t
    return torch.stack(outputs, 1), torch.stack(backwards, 1), torch.stack(others, 1), outputs[-1]


@right(together=1)
def every_second_step(self, x):
    length, output = x.size(1), x.new_zeros(x.size(0), x.size(1), 4)
    for first in range(2):
        h = x.new_zeros(x.size(0), 4)
        for t in range(first, length, 2):
            h = self.cell(x[:, t], h)
            output[:, t] = h
    h, outputs = x.new_zeros(x.size(0), 4), []
    for x_t in x[:, ::2].unbind(1):
        h = self.cell(x_t, h)
        outputs.append(h)
    return output, torch.stack(outputs, 1)


@right
def outputs_written_to_a_tensor_in_two_parts(self, x):
    h, output = x.new_zeros(x.size(0), 4), torch.empty(x.size(0), x.size(1), 8)
    for t in range(x.size(1)):
        h = self.cell(x.narrow(1, t, 1).squeeze(1), h)
        output[:, t, :4] = h
        output[:, t, 4:] = -h
    return output


@right
def both_directions_in_a_list_of_lists(self, x):
    outputs = [[x[:, t] for t in range(x.size(1))] for _ in range(2)]
    outputs[1].reverse()
    states = [torch.zeros_like(x[:, 0])] * 2
    for t in range(x.size(1)):
        for direction in range(2):
            states[direction] = torch.tanh(outputs[direction][t] + states[direction] * 0.5)
            outputs[direction][t] = states[direction]
        outputs[0][t] = torch.cat([each[t] for each in outputs], -1)
    return torch.stack(outputs[0], 1), torch.stack(outputs[1], 1)


@right
def values_with_an_axis_of_one_too_many(self, x):
    written, h = torch.empty(x.size(1), x.size(0), 3), torch.zeros(1, x.size(0), 3)
    read = torch.zeros(x.size(1), x.size(0), 3)
    for t in range(x.size(1)):
        h = torch.tanh(h + x[:, t][None])
        written[t] = h
        read[t, :] = h[None]
        h = h + read[t]
    return written, read


STEP_NUMBERS = Family("numbers of steps", runs=((1, 1), (2, 2), (3, 33), (2, 100), (1, 3000)))
"""Numbers that a loop computes of the number of its step: in double precision, as Python does."""
right, core, refused = STEP_NUMBERS.right, STEP_NUMBERS.core, STEP_NUMBERS.refused


class Scaled(nn.Module):
    """Scales each step by a number of its own."""

    number: Any

    def forward(self, x):
        n, outputs, h = x.size(1), [], torch.zeros_like(x[:, 0])
        for t in range(n):
            h = 0.5 * h + x[:, t]
            outputs.append(h * self.number(t, n))
        return torch.stack(outputs, 1)


@core
class Correction(Scaled):
    def number(self, t, _):
        return 1 / (1 - 0.999 ** (t + 1))


@core
class Root(Scaled):
    def number(self, t, _):
        return math.sqrt(t + 1)


@right
class Logarithm(Scaled):
    def number(self, t, _):
        return math.log(t + 2) * torch.ones(3) / (t + 1) ** 2


@right
class PartOfTheSteps(Scaled):
    def number(self, t, n):
        return (t / (t + 1)) * torch.ones(3) * ((t + 1) / n) ** 2 / (t + 2) ** 0.5


@right
class Literals(Scaled):
    """Of float32, whose rounding is another one at each length."""

    def number(self, t, _):
        return torch.tensor([t / 10, 1.0, 0.5 * t])


@refused(r"do not repeat the computation of fewer steps", is_core=True)
class Threshold(Scaled):
    def number(self, t, n):
        return 1.0 if t / n < 0.3 else 0.5


@core
class Total(nn.Module):
    """Carries floats of Python."""

    def forward(self, x):
        total, rate, outputs = 0.0, 1.0, []
        for t in range(x.size(1)):
            total += 0.1
            rate *= 0.999
            outputs.append(x[:, t] * total + rate)
        return torch.stack(outputs, 1)
