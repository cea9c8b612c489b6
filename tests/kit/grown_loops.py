"""More `LOOPS`: variables that grow by `torch.cat` in each step, and that no step reads otherwise."""

import torch

from kit.looped_modules import loop

# ruff: noqa: SIM108 - the statements of the users' modules, as they are


@loop("cat to None")
def _(self, x):
    h, outputs = torch.zeros_like(x[:, 0]), None
    for t in range(x.size(1)):
        h = torch.tanh(h * 0.5 + x[:, t])
        if outputs is None:
            outputs = h.unsqueeze(1)
        else:
            outputs = torch.cat((outputs, h.unsqueeze(1)), 1)
    return outputs, h


@loop("cat to what is not None")
def _(self, x):
    h, outputs = torch.zeros_like(x[:, 0]), None
    for t in reversed(range(x.size(1))):
        h = torch.tanh(h * 0.5 + x[:, t])
        if outputs is not None:
            outputs = torch.cat([h[:, None], outputs], dim=-2)
        else:
            outputs = h[:, None]
    return outputs, h


@loop("cat but in step 0")
def _(self, x):
    h = torch.zeros_like(x[:, 0])
    for t in range(x.size(1)):
        h = torch.tanh(h * 0.5 + x[:, t])
        if t == 0:
            outputs = h.unsqueeze(1)
        else:
            outputs = torch.cat([outputs, h.unsqueeze(1)], dim=1)
    outputs = outputs[:, :1]  # set before the second loop, whose step 0 sets it anew
    for t, x_t in enumerate(x.unbind(1)):
        h = torch.tanh(h * 0.5 + x_t)
        if t != 0:
            outputs = torch.concat([outputs, h.unsqueeze(1)], dim=1)
        else:
            outputs = h.unsqueeze(1)
    return outputs, h


@loop("cat to a tensor without values")
def _(self, x):
    h, outputs, numbers = torch.zeros_like(x[:, 0]), torch.tensor([]), torch.zeros(x.size(0), 0, 3)
    for x_t in x.unbind(1):
        h = torch.tanh(h * 0.5 + x_t)
        outputs = torch.cat([outputs, h[:, None]], dim=1)
        numbers = torch.cat([numbers, x_t[:, None] * 2], axis=1)  # type: ignore[call-arg]  # torch takes it
    return outputs, h, numbers


@loop("cat to what is there, on either side")
def _(self, x):
    h = torch.zeros_like(x[:, 0])
    after, before = h.unsqueeze(0), h.unsqueeze(0) + 1
    for t in range(x.size(1)):
        after = torch.cat([after, x[None, :, t] * 2])
        before = torch.cat((x[None, :, t], before), 0)
    return after.transpose(0, 1), before.transpose(0, 1)


@loop("cat in layers")
def _(self, x):
    for _ in range(2):
        h, outputs = torch.zeros_like(x[:, 0]), None
        for t in range(x.size(1)):
            h = torch.tanh(h * 0.5 + x[:, t])
            outputs = h.unsqueeze(1) if outputs is None else torch.cat((outputs, h.unsqueeze(1)), 1)
        x = outputs
    return x, h


@loop("cat while a counter counts")
def _(self, x):
    h, t, outputs = torch.zeros_like(x[:, 0]), 0, x[:, :1]
    while t < x.size(1):
        h = torch.tanh(h * 0.5 + x[:, t])
        outputs = torch.cat((outputs, h.unsqueeze(1)), 1)
        t += 1
    return outputs, h
