"""Lists, dicts, deques, records and attributes of states that the steps of a loop change in place or make anew."""

import collections

import torch

from kit.corpus.loops import Cells
from kit.corpus.rows import Family

LOOP_STATES = Family("states of loops", Cells)
right, core, refused = LOOP_STATES.right, LOOP_STATES.core, LOOP_STATES.refused


@core
def a_dict_whose_item_is_set_and_that_is_made_anew(self, x):
    state, outputs = {"h": torch.zeros_like(x[:, 0]), "g": torch.ones_like(x[:, 0])}, []
    for x_t in x.unbind(1):
        state["g"] = torch.tanh(state["g"] * 0.5 + x_t)
        state = {**state, "h": torch.tanh(state["h"] + state["g"])}
        outputs.append(state["h"])
    return torch.stack(outputs, 1), state["g"]


@core
def a_deque_of_the_last_three_steps(self, x):
    last, outputs = collections.deque([torch.zeros_like(x[:, 0])] * 3, maxlen=3), []
    for t in range(x.size(1)):
        last.append(x[:, t])
        outputs.append(torch.stack(list(last), 1).sum(1) * last[0])
    return torch.stack(outputs, 1), last[-1]
