"""Recurrent layers in the places where users have them: called twice, packed, subclassed, between other layers."""

import functools
import itertools
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from kit.corpus.rows import LENGTHS, Family, Members, X, floats, lengths

RAGGED = X, LENGTHS
LAYERS = Family("layers")
right, core, refused = LAYERS.right, LAYERS.core, LAYERS.refused


@core(arguments=RAGGED, longer=True, layers=4)
class EncoderDecoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.LSTM(3, 6, 2, batch_first=True)
        self.decoder = nn.LSTM(3, 6, 2, batch_first=True)
        self.head = nn.Linear(6, 2)

    def forward(self, input, lengths):
        packed = pack_padded_sequence(input, lengths, batch_first=True, enforce_sorted=False)
        _, state = self.encoder(packed)
        output, state = self.decoder(input.flip(1), state)
        return self.head(output), state


@core(arguments=RAGGED, longer=True, layers=1)
class Trimmed(Members):
    """Without total_length: trimmed to the longest row, whatever the input's size."""

    def forward(self, input, lengths):
        packed = pack_padded_sequence(input, lengths, batch_first=True, enforce_sorted=False)
        output, state = self.gru(packed)
        output, back = pad_packed_sequence(output, batch_first=True)
        return self.head(output), output, back, back + 1, state


@right(arguments=RAGGED, longer=True, layers=1)
class TrimmedAndUsed(Members):
    def forward(self, input, lengths):
        output, _ = self.lstm(pack_padded_sequence(input, lengths, batch_first=True, enforce_sorted=False))
        output, back = pad_packed_sequence(output, batch_first=True)
        mask = (torch.arange(output.size(1)).unsqueeze(0) < back.unsqueeze(1)).unsqueeze(-1)
        mean = (output * mask).sum(1) / back.unsqueeze(1)
        largest = output.masked_fill(~mask, -1e9).max(1).values
        last = output.gather(1, (back - 1).view(-1, 1, 1).expand(-1, 1, output.size(2))).squeeze(1)
        picked = output[torch.arange(output.size(0)), back - 1]
        return self.head(mean), largest, last, picked, output[:, -1], output.shape[1] * torch.ones(1)


@core(arguments=RAGGED, longer=True, layers=3, together=1)
class Repacked(nn.Module):
    """Two packed modules, one after the other, with and without a padded interlude."""

    def __init__(self):
        super().__init__()
        self.first = nn.GRU(3, 4, batch_first=True, bidirectional=True)
        self.second = nn.LSTM(8, 4, batch_first=True)
        self.third = nn.RNN(4, 4, nonlinearity="relu")

    def forward(self, input, lengths):
        packed = pack_padded_sequence(input, lengths, batch_first=True, enforce_sorted=False)
        packed, _ = self.first(packed)
        packed, (h_n, c_n) = self.second(packed)
        padded, lengths = pad_packed_sequence(packed, batch_first=True)
        packed = pack_padded_sequence(torch.tanh(padded).transpose(0, 1), lengths, enforce_sorted=False)
        packed, last = self.third(packed)
        return pad_packed_sequence(packed)[0], h_n, c_n, last


@core(layers=6)
class LearnedState(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(3, 4, 2, batch_first=True)
        self.h_0 = nn.Parameter(torch.randn(2, 1, 4))
        self.map = nn.Linear(3, 8)

    def forward(self, input):
        learned, _ = self.gru(input, self.h_0.expand(-1, input.size(0), -1))
        repeated, _ = self.gru(input, self.h_0.repeat(1, input.size(0), 1))
        computed = self.map(input[:, 0]).view(-1, 2, 4).transpose(0, 1)
        return learned, repeated, self.gru(input, computed.contiguous())


class Nested(Members):
    def forward(self, inputs, mask=None, states=None):
        x = inputs["walk"] if mask is None else inputs["walk"] * mask
        return {"output": self.lstm(x, states)[0], "last": self.lstm(x, states)[1]}


class Hierarchy(Members):
    def __init__(self):
        super().__init__()
        self.sentences = nn.LSTM(4, 5, batch_first=True, bidirectional=True)

    def forward(self, input):
        batch, sentences, words, features = input.shape
        _, h_n = self.gru(input.view(batch * sentences, words, features))
        return self.sentences(h_n[-1].view(batch, sentences, -1))


class Sorted(Members):
    def forward(self, input, lengths):
        output, h_n = self.gru(pack_padded_sequence(input, lengths, batch_first=True))
        return pad_packed_sequence(output, batch_first=True)[0], h_n


def hooked():
    module = nn.GRU(3, 4, batch_first=True)
    module.register_forward_pre_hook(lambda _, inputs: (inputs[0] + 1,))
    module.register_forward_hook(lambda _, __, results: (results[0] * 2, results[1]))
    return nn.Sequential(module)


def add(name, make, *arguments, **more):
    LAYERS.add(name, make, *arguments, **more)


add("an LSTM", lambda: nn.LSTM(3, 4, batch_first=True), layers=1, is_core=True)
STATE = floats(1, "batch", 4)
add("nested arguments and None", Nested, {"walk": X}, None, (STATE, STATE), layers=2, is_core=True)
add("words within sentences", Hierarchy, floats("batch", "sentences", "words", 3), layers=2, is_core=True)
add("hooks", hooked)
add("torch.compile", lambda: torch.compile(nn.LSTM(3, 4, batch_first=True), backend="eager"))
add("rows that eager wants sorted", Sorted, X, lengths(is_sorted=True), layers=1, is_core=True)
add("no dynamic axes", lambda: nn.RNN(3, 4, 2, batch_first=True, bidirectional=True), floats(2, 5, 3), layers=2)


class Form(nn.Module):
    """A layer with one combination of layers, directions, layout, initial states and bias, packed or not."""

    def __init__(self, cell, packed, layers, both, batch_first, with_states, bias, **more):
        super().__init__()
        self.packed, self.batch_first, self.with_states = packed, batch_first, with_states
        self.layer = cell(3, 4, layers, bidirectional=both, batch_first=batch_first, bias=bias, **more)

    def forward(self, input, lengths, states, cells):
        x = input if self.batch_first else input.transpose(0, 1)
        rows, hx = self.layer.num_layers * (1 + self.layer.bidirectional), None
        if self.with_states:
            hx = (states[:rows], cells[:rows]) if isinstance(self.layer, nn.LSTM) else states[:rows]
        if self.packed:
            x = pack_padded_sequence(x, lengths, batch_first=self.batch_first, enforce_sorted=False)
        output, final = self.layer(x, hx)
        if self.packed:
            output, _ = pad_packed_sequence(output, batch_first=self.batch_first, total_length=input.shape[1])
        return output, final


LAYER_FORMS = Family("forms of layers", layers=1)
CELLS: dict[str, Any] = {
    "tanh": functools.partial(nn.RNN, nonlinearity="tanh"),
    "relu": functools.partial(nn.RNN, nonlinearity="relu"),
    "gru": nn.GRU,
    "lstm": nn.LSTM,
    "projected lstm": functools.partial(nn.LSTM, proj_size=2),
}
FORMS = ("00000", "00111", "01011", "01101", "01110")
"""Of each cell: whether it has two layers, both directions, batch first, states and bias."""


def _add_forms():
    """Add two forms of each cell, one the opposite of the other. Any two choices occur together and apart."""
    for (number, (name, cell)), packed in itertools.product(enumerate(CELLS.items()), (False, True)):
        is_opposite = packed != bool(number % 2)
        two, both, first, states, bias = (bool(int(choice)) != is_opposite for choice in FORMS[number])
        hidden = 2 if "projected" in name else 4
        LAYER_FORMS.add(
            f"{name}, {1 + two} layers, {'packed' if packed else 'plain'}"
            f"{', both directions' * both}{', batch first' * first}{', states' * states}{', bias' * bias}",
            functools.partial(Form, cell, packed, 1 + two, both, first, states, bias),
            X,
            LENGTHS,
            floats(4, "batch", hidden),
            floats(4, "batch", 4),
            layers=0 if "projected" in name else 1 + two,
            is_core=name == "lstm",
            together=10,
            limit=2.0,
        )


_add_forms()


class Using(Members):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(3, 4, num_layers=2, bidirectional=True, batch_first=True)

    def packed(self, input, lengths):
        return pack_padded_sequence(input, lengths, batch_first=True, enforce_sorted=False)

    def trimmed(self, input, lengths):
        return pad_packed_sequence(self.lstm(self.packed(input, lengths))[0], batch_first=True)[0]


USES = Family("uses of layers", Using, RAGGED)
right, core, refused = USES.right, USES.core, USES.refused


@right
def final_states_in_every_form(self, x, _lengths):
    output, h_n = self.gru(x)
    batch = x.shape[0]
    joined = torch.cat((h_n[-2], h_n[-1]), dim=1)
    zeros = torch.zeros(1, batch, 4)
    as_list = self.lstm(x, [zeros, zeros])[1]
    directions = output.view(batch, -1, 2, 4)
    return h_n.view(2, 2, batch, 4), h_n.permute(1, 0, 2).reshape(batch, -1), joined, directions[:, :, 0], as_list


@right
def results_twice_inputs_and_none(self, x, lengths):
    output, _ = self.lstm(x)
    return output, output, x, lengths, None


@right
def sorted_by_hand(self, x, lengths):
    ordered, order = lengths.sort(descending=True)
    back = order.argsort()
    output, h_n = self.gru(pack_padded_sequence(x[order], ordered.cpu(), batch_first=True))
    output, again = pad_packed_sequence(output, batch_first=True)
    return output[back], h_n[:, back], again[back]


@right
def lengths_computed(self, x, lengths):
    mask = torch.arange(x.size(1)).unsqueeze(0) < lengths.unsqueeze(1)
    output, h_n = self.gru(self.packed(x, mask.sum(dim=1).clamp(min=1)))
    return pad_packed_sequence(output.to("cpu").double(), batch_first=True)[0], h_n


@right
def trimmed_and_cut(self, x, lengths):
    output = self.trimmed(x, lengths)
    pairs = torch.einsum("bth,bsh->bts", output, output)
    zeros = torch.zeros(output.shape[:2]) + output.new_zeros(output.size(0), output.size(1))
    return pairs, output[:, ::2], output[:, :3], output[:, 1:], output.flip(1), output.cumsum(1), zeros


@core
def total_length_from_the_values(self, x, lengths):
    output, _ = self.lstm(self.packed(x, lengths))
    return pad_packed_sequence(output, batch_first=True, total_length=lengths.max().item())[0]
