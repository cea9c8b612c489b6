"""More loops for `LOOPS`: of steps that are counted, strided or numbered in another way, and lists by number."""

from typing import Any

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from kit.looped_modules import loop


@loop("while with a counter")
def _(self, x):
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


@loop("a list of as many items as steps")
def _(self, x):
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


@loop("a list read at the step before")
def _(self, x):
    states, outputs = [x.new_zeros(x.size(0), 4)], []
    for t in range(x.size(1)):
        states.append(self.cell(x[:, t], states[t]))
        outputs.append(states[t + 1] - (outputs[t - 1] if t > 0 else 0.0))
    return torch.stack(states, 1), torch.stack(outputs, 1)


@loop("every second step")
def _(self, x):
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


@loop("outputs written to a tensor in two parts")
def _(self, x):
    h, output = x.new_zeros(x.size(0), 4), torch.empty(x.size(0), x.size(1), 8)
    for t in range(x.size(1)):
        h = self.cell(x.narrow(1, t, 1).squeeze(1), h)
        output[:, t, :4] = h
        output[:, t, 4:] = -h
    return output


@loop("beside a packed sequence")
def _(self, x):
    lengths = torch.full((x.size(0),), x.size(1))
    packed = pack_padded_sequence(x, lengths, batch_first=True)
    steps, _ = pad_packed_sequence(packed, batch_first=True, total_length=x.size(1))
    h, outputs = x.new_zeros(x.size(0), 4), []
    for x_t in steps.unbind(1):
        h = self.cell(x_t, h)
        outputs.append(h)
    return torch.stack(outputs, 1), pad_packed_sequence(packed, batch_first=True, total_length=x.size(1))[0]


@loop("classes that are named, not called")
def _(self, x):
    kinds, either = (list, tuple), list | tuple
    made = {"many": list, "few": tuple}
    h, outputs = x.new_zeros(x.size(0), 4), list()  # noqa: C408 - what is called is ours
    for x_t in x.unbind(1):
        state = (h,)
        h = self.cell(x_t, state[0] if isinstance(state, kinds) and isinstance(state, either) else -h)
        outputs.append(h)
    return torch.stack(outputs, 1), len(made["few"]((1, 2))) * h
