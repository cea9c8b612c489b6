"""Loops over steps as people write them: functions of a module with cells and of x (batch, sequence, 3)."""

import collections

import torch
from torch import nn

from kit.corpus.rows import Family, Members

# ruff: noqa: SIM108 - the statements of users' modules, as they are


class Cells(Members):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.GRUCell(3, 4), nn.GRUCell(4, 4)])
        self.weights = nn.Parameter(torch.randn(2, 3))


LOOPS = Family("loops", Cells)
right, core, refused = LOOPS.right, LOOPS.core, LOOPS.refused


@core
def range_of_size(self, x):
    h, outputs = x.new_zeros(x.size(0), 4), []
    for t in range(x.size(1)):
        h = self.cell(x[:, t], h)
        outputs.append(h)
    return torch.stack(outputs, 1), h


@core
def a_list_of_layers_changed_in_place(self, x):
    length, outputs = x.shape[1], []
    hidden = [torch.zeros(x.size(0), 4) for _ in self.layers]
    for t in range(length):
        each = x[:, t, :]
        for number, cell in enumerate(self.layers):
            each = hidden[number] = cell(each, hidden[number])
        outputs.append(each.unsqueeze(1))
    return torch.cat(outputs, dim=1), torch.stack(hidden), hidden[-1]


@right
def from_the_last_to_the_first(self, x):
    length, h, g = x.size(1), x.new_zeros(x.size(0), 4), x.new_zeros(x.size(0), 4)
    outputs, more = [], []
    for t in reversed(range(length)):
        h = self.cell(x[:, t], h)
        outputs.insert(0, h)
    for t in range(length - 1, -1, -1):
        g = self.cell(x[:, t], g)
        more.append(g)
    more.reverse()
    return (
        torch.stack(outputs, 1),
        torch.stack(more[::-1], 1),
        torch.cat([torch.stack(more, 1), outputs[0][:, None]], 1),
    )


@right
def a_tensor_of_layers_changed_in_place(self, x):
    h, outputs = torch.zeros(2, x.size(0), 3), []
    for x_t in x.unbind(dim=1):
        h[0] = torch.tanh(h[0] + x_t)
        h[1] = torch.tanh(h[1] + h[0])
        outputs.append(h[1].clone())
    return torch.stack(outputs, 1), h


@core
def masked_by_lengths(self, x):
    lengths, h = (x[:, :, 0] > -0.3).sum(1), x.new_zeros(x.size(0), 4)
    for t in range(x.size(1)):
        h = torch.where((t < lengths).unsqueeze(1), self.cell(x[:, t], h), h)
    return h


@right
def several_sequences(self, x):
    h, outputs = x.new_zeros(x.size(0), 3), []
    for a, (b, c) in zip(x.unbind(1), zip(x.flip(1).unbind(1), x.exp().unbind(1), strict=True), strict=True):
        h = torch.tanh(h + a - b) * torch.sigmoid(c)
        outputs.append((h, h.sum(1)))
    whole, sums = zip(*outputs, strict=True)
    return torch.stack(whole, 1), torch.stack(sums, 1)


@right
def a_loop_within_a_loop(self, x):
    totals = []
    for t in range(x.size(1)):
        total = torch.zeros_like(x[:, 0])
        for s in range(x.size(1)):
            total = 0.5 * total + x[:, s] * x[:, t]
        totals.append(total)
    return torch.stack(totals, 1)


@core
def cat_to_none(self, x):
    h, outputs = torch.zeros_like(x[:, 0]), None
    for t in range(x.size(1)):
        h = torch.tanh(h * 0.5 + x[:, t])
        if outputs is None:
            outputs = h.unsqueeze(1)
        else:
            outputs = torch.cat((outputs, h.unsqueeze(1)), 1)
    return outputs, h


@right
def cat_to_a_tensor_without_values(self, x):
    h, outputs, numbers = torch.zeros_like(x[:, 0]), torch.tensor([]), torch.zeros(x.size(0), 0, 3)
    for x_t in x.unbind(1):
        h = torch.tanh(h * 0.5 + x_t)
        outputs = torch.cat([outputs, h[:, None]], dim=1)
        numbers = torch.cat([numbers, x_t[:, None] * 2], axis=1)  # type: ignore[call-arg]  # torch takes it
    return outputs, h, numbers


@right
def changes_in_place_of_views_of_views(self, x):
    output, h = x.new_zeros(x.size(0), x.size(1), 4), x.new_zeros(x.size(0), 4)
    for t in range(x.size(1)):
        h = self.cell(x[:, t], h)
        step = output.transpose(0, 1)[t]
        step[:, :2] += h[:, :2]
        output[:, t].mul_(2)
    return output


@right
def outputs_written_before_the_state_changes(self, x):
    output, h = x.new_zeros(x.size(0), x.size(1) + 1, 4), x.new_zeros(x.size(0), 4)
    for t in range(x.size(1)):
        output[:, t + 1] = h * 2
        h = self.cell(x[:, t], h)
    return output, h


@right
def changes_through_data(self, x):
    h = x.new_zeros(x.size(0), 4)
    for t in range(x.size(1)):
        h = self.cell(x[:, t], h)
        h.data.masked_fill_(x[:, t, :1] > 0, 0.5)
    return h


@right
def a_window_that_moves(_, x):
    x = nn.functional.pad(x, (0, 0, 2, 0))
    return torch.stack([x[:, t : t + 3].mean(1) for t in range(x.size(1) - 2)], 1)


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


@core
def a_state_updated_after_its_output(self, x):
    h, outputs = torch.zeros_like(x[:, 0]), []
    for t in range(x.size(1)):
        outputs.append(torch.tanh(h + x[:, t]))
        h = h * 0.5 + x[:, t].sigmoid()
    return torch.stack(outputs, 1)


@core
def a_deque_of_the_last_unbound_steps(self, x):
    last, outputs = collections.deque((torch.zeros_like(x[:, 0]) for _ in range(4)), maxlen=4), []
    for x_t in x.unbind(1):
        last.append(x_t)
        outputs.append(torch.cat(tuple(last), 1) * last[1].mean())
    return torch.stack(outputs, 1)
