"""More `LOOPS`: lists that hold all steps and of which steps set items, and values with an axis of one too many."""

from typing import Any

import torch

from kit.looped_modules import loop


@loop("layers in turn, in one list of all steps")
def _(self, x):
    outputs = [x[:, t, :] for t in range(x.size(1))]
    states = [torch.zeros_like(x[:, 0]) for _ in range(2)]
    for t in range(x.size(1)):
        for layer in range(2):
            states[layer] = torch.tanh(outputs[t] + states[layer] * 0.5)
            outputs[t] = states[layer]
    return torch.stack(outputs, 1), states


@loop("both directions, in a list of lists")
def _(self, x):
    outputs = [[x[:, t] for t in range(x.size(1))] for _ in range(2)]
    outputs[1].reverse()
    states = [torch.zeros_like(x[:, 0])] * 2
    for t in range(x.size(1)):
        for direction in range(2):
            states[direction] = torch.tanh(outputs[direction][t] + states[direction] * 0.5)
            outputs[direction][t] = states[direction]
        outputs[0][t] = torch.cat([each[t] for each in outputs], -1)
    return torch.stack(outputs[0], 1), torch.stack(outputs[1], 1)


@loop("a list of all steps, from the last to the first, and twice")
def _(self, x):
    steps, h = list(x.unbind(1)), torch.zeros_like(x[:, 0])
    for t in reversed(range(len(steps))):
        h = torch.tanh(h * 0.5 + steps[t])
        steps[t] = h
    for t, step in enumerate(steps):
        h = torch.tanh(h + step)
        steps[t] = (h, step)
    return torch.stack([one for one, _ in steps], 1), torch.stack([other for _, other in steps], 1)


@loop("items of a list of all steps but the last, which read the next")
def _(self, x):
    steps = list(x.unbind(1))
    for t in range(x.size(1) - 1):
        steps[t] = torch.tanh(steps[t] - steps[t + 1])
    return torch.stack(steps, 1)


@loop("items of a list of all steps but the first, which is set before")
def _(self, x):
    steps = [each * 2 for each in x.unbind(1)]
    h = steps[0] = torch.zeros_like(x[:, 0])
    for t in range(1, len(steps)):
        h = torch.tanh(h + steps[t])
        steps[t] = h
    steps[-1] = h * 2
    return torch.stack(steps, 1)


@loop("another way in the first step, in a list of all steps")
def _(self, x):
    steps = list(x.unbind(1))
    for t in range(len(steps)):
        if t == 0:
            h = torch.sigmoid(steps[t])
            steps[t] = h * 3
        else:
            h = torch.tanh(h + steps[t])
            steps[t] = h
    return torch.stack(steps, 1)


@loop("values with an axis of one too many")
def _(self, x):
    written, h = torch.empty(x.size(1), x.size(0), 3), torch.zeros(1, x.size(0), 3)
    read = torch.zeros(x.size(1), x.size(0), 3)
    for t in range(x.size(1)):
        h = torch.tanh(h + x[:, t][None])
        written[t] = h
        read[t, :] = h[None]
        h = h + read[t]
    return written, read


@loop("the last item of a list, read after a loop in a loop")
def _(self, x):
    outputs = [torch.zeros_like(x[:, 0])]
    for step in x.unbind(1):
        total = torch.zeros_like(step[:, 0])
        for other in x.unbind(1):
            total = total * 0.5 + other[:, 0] * step[:, 1]
        outputs.append(torch.tanh(outputs[-1] * 0.5 + step + total[:, None]))
    return torch.stack(outputs, 1)


@loop("an item that is set, read and set again in a step")
def _(self, x):
    outputs: list[Any] = [None] * x.size(1)
    h = x.new_zeros(x.size(0), 4)
    for t in range(x.size(1)):
        outputs[t], h = h * 2, self.cell(x[:, t], h)
        for _ in range(2):
            outputs[t] = torch.cat([outputs[t], h[:, :1]], 1)
    return torch.stack(outputs, 1), h
