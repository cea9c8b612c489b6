"""More `LOOPS`: lists and dicts of states that a step changes in place and then makes anew."""

import collections
from typing import Any

import torch

from support.looped_modules import loop


@loop("a dict whose item is set, and that is made anew")
def _(self, x):
    state, outputs = {"h": torch.zeros_like(x[:, 0]), "g": torch.ones_like(x[:, 0])}, []
    for x_t in x.unbind(1):
        state["g"] = torch.tanh(state["g"] * 0.5 + x_t)
        state = {**state, "h": torch.tanh(state["h"] + state["g"])}
        outputs.append(state["h"])
    return torch.stack(outputs, 1), state["g"]


@loop("a dict whose item is nothing before the first step, and that is made anew")
def _(self, x):
    state: dict[str, Any] = {"h": torch.zeros_like(x[:, 0]), "pair": None}
    outputs = []
    for x_t in x.unbind(1):
        before = state["pair"]
        state["pair"] = (torch.tanh(x_t), x_t) if before is None else (torch.tanh(before[0] + x_t), before[1] * 0.5)
        state = dict(state, h=state["h"] * 0.5 + state["pair"][0] + state["pair"][1])
        outputs.append(state["h"])
    return torch.stack(outputs, 1), state["pair"]


@loop("a list whose item is set, and that is made anew")
def _(self, x):
    states, outputs = [torch.zeros_like(x[:, 0]), torch.ones_like(x[:, 0])], []
    for x_t in x.unbind(1):
        states[0] = torch.tanh(states[0] * 0.5 + x_t)
        states = [states[1], states[0] + x_t]
        outputs.append(states[0] - states[1])
    return torch.stack(outputs, 1), states


@loop("dicts in a list, whose items are set, and that are made anew")
def _(self, x):
    states = [{"h": torch.zeros_like(x[:, 0])}, collections.OrderedDict(h=torch.ones_like(x[:, 0]))]
    outputs = []
    for x_t in x.unbind(1):
        for layer in range(2):
            states[layer]["h"] = torch.tanh(states[layer]["h"] * 0.5 + x_t)
        states[0] = {"h": states[0]["h"] + states[1]["h"]}
        states = [states[0], collections.OrderedDict(h=states[1]["h"] * 0.9)]
        outputs.append(states[0]["h"])
    return torch.stack(outputs, 1), states[1]["h"]


@loop("a dict in a tuple")
def _(self, x):
    state, outputs = ({"h": torch.zeros_like(x[:, 0])}, torch.ones_like(x[:, 0])), []
    for x_t in x.unbind(1):
        state[0]["h"] = torch.tanh(state[0]["h"] * 0.5 + x_t)
        state = (dict(state[0]), state[1] * 0.5 + state[0]["h"])
        outputs.append(state[1])
    return torch.stack(outputs, 1), state[0]["h"]
