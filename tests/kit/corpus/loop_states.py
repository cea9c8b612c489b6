"""Lists, dicts, deques, records and attributes of states that the steps of a loop change in place or make anew."""

import collections
import dataclasses
from typing import Any

import torch

from kit.corpus.loops import Cells
from kit.corpus.rows import Family

__all__ = ["LOOP_STATES"]

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


@right
def a_dict_whose_item_is_nothing_before_the_first_step_and_that_is_made_anew(self, x):
    state: dict[str, Any] = {"h": torch.zeros_like(x[:, 0]), "pair": None}
    outputs = []
    for x_t in x.unbind(1):
        before = state["pair"]
        state["pair"] = (torch.tanh(x_t), x_t) if before is None else (torch.tanh(before[0] + x_t), before[1] * 0.5)
        state = dict(state, h=state["h"] * 0.5 + state["pair"][0] + state["pair"][1])
        outputs.append(state["h"])
    return torch.stack(outputs, 1), state["pair"]


@dataclasses.dataclass(frozen=True)
class Frozen:
    h: torch.Tensor
    count: torch.Tensor


@right
def a_frozen_dataclass_replaced(self, x):
    state, outputs = Frozen(x.new_zeros(x.size(0), 4), torch.zeros(x.size(0), dtype=torch.int64)), []
    for x_t in x.unbind(1):
        h = self.cell(x_t, state.h) * (state.count % 2 == 0).unsqueeze(1)
        state = dataclasses.replace(state, h=h, count=state.count + 1)
        outputs.append(state)
    return torch.stack([each.h for each in outputs], 1), state.h, state.count


@dataclasses.dataclass(slots=True)
class Slotted:
    h: torch.Tensor
    pair: tuple[torch.Tensor, torch.Tensor]


class Plain:
    def __init__(self, h):
        self.h, self.name = h, "plain"


@right
def a_dataclass_with_slots_and_an_object_made_anew_in_a_tuple(self, x):
    zeros, outputs = x.new_zeros(x.size(0), 4), []
    state = Slotted(zeros, (zeros, zeros)), Plain(zeros)
    for t in range(x.size(1)):
        slotted, plain = state
        pair = self.pair(x[:, t], slotted.pair)
        state = Slotted(pair[0] + slotted.h / 2, pair), Plain(self.cell(x[:, t], plain.h))
        outputs.append(state[0].h + state[1].h)
    return torch.stack(outputs, 1), state[0].pair[1]


@core
def a_deque_of_the_last_three_steps(self, x):
    last, outputs = collections.deque([torch.zeros_like(x[:, 0])] * 3, maxlen=3), []
    for t in range(x.size(1)):
        last.append(x[:, t])
        outputs.append(torch.stack(list(last), 1).sum(1) * last[0])
    return torch.stack(outputs, 1), last[-1]


@right
def a_deque_of_states_before_the_latest_first(self, x):
    h = x.new_zeros(x.size(0), 4)
    before = collections.deque([h, h], maxlen=2)
    for x_t in x.unbind(1):
        h = self.cell(x_t, (h + before[-1]) / 3)
        before.appendleft(h)
    return h, before[0] + before[1]
