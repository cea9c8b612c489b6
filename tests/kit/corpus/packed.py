"""Packed sequences: what modules do with their values and their order, exported as it is or refused."""

import itertools

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from kit.corpus.rows import LENGTHS, Family, Members, X


class Packs(Members):
    def __init__(self):
        super().__init__()
        self.lstm, self.square = nn.LSTM(4, 4, bidirectional=True), nn.Linear(4, 4)
        self.embedding, self.layer, self.dropout = nn.Embedding(7, 3), nn.LayerNorm(4), nn.Dropout(0.5)

    def pack(self, x, lengths):
        return pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)


def pad(packed, **options):
    """Return the padded values."""
    return pad_packed_sequence(packed, batch_first=True, **options)[0]


def of(packed, data):
    """Return a sequence with other values, packed in the same way."""
    return PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)


PACKED = Family("packed sequences", Packs, (X, LENGTHS), longer=True)
right, core, refused = PACKED.right, PACKED.core, PACKED.refused


VALUES = r"whose values are not computed from another PackedSequence. .* Pad first"


def field_read(name, what=r"\.\w+"):
    return rf"^the module reads `{name}` of a PackedSequence, {what}.* Pad first: call pad_packed_sequence"


@core
def linear_before_the_layer(self, x, n):
    packed = self.pack(x, n)
    output, h_n = self.gru(of(packed, self.linear(packed.data)))
    return pad(output), h_n


@right
def layers_of_a_language_model(self, x, n):
    packed = self.gru(self.pack(x, n))[0]
    for _ in range(2):
        before = packed.data
        packed = of(packed, F.gelu(self.layer(self.square(self.dropout(before)))) + before)
    return pad(of(packed, torch.sigmoid(packed.data) * 2)), pad(packed, padding_value=-7.0)


@right
def ids_embedded(self, x, n):
    packed = self.pack(
        torch.where(torch.arange(x.size(1)) < n[:, None], (x[..., 0].abs() * 3).long().clamp(max=6), -1), n
    )
    return self.gru(of(packed, self.embedding(packed.data)))[1]


@refused(VALUES, is_located=False)
def values_of_steps(self, x, n):
    packed = self.pack(x, n)
    return self.gru(of(packed, x.transpose(0, 1).reshape(-1, 3)))[1]


@refused(field_read("data"), is_located=False)
def by_their_number(self, x, n):
    packed = self.pack(x, n)
    return self.gru(packed)[1] * (2 if packed.data.size(0) > 5 else 1)


@core
def packed_again_and_again(self, x, n):
    padded = pad(self.gru(self.pack(x, n))[0], total_length=x.size(1))
    padded = pad(self.lstm(self.pack(self.square(padded), n))[0])
    return self.lstm(self.pack(padded[..., :4], n))[1][0]


@right
def one_for_several(self, x, n):
    packed = self.pack(x, n)
    return self.gru(packed)[1], pad(packed), self.gru(of(packed, packed.data))[1]


@right
def of_another_dtype(self, x, n):
    packed = self.pack(x, n)
    return self.gru(packed.double().to(torch.float32))[1], pad(packed.to(torch.int32))


@right(together=1)
def loop_beside(self, x, n):
    h, states = x.new_zeros(x.size(0), 3), []
    for at in range(x.size(1)):
        h = torch.tanh(h + x[:, at])
        states.append(h)
    return pad(self.gru(self.pack(x, n))[0]), torch.stack(states, 1)


@right
def states_like_the_values(self, x, n):
    packed = self.pack(x, n)
    return self.gru(packed, torch.zeros(1, x.size(0), 4, device=packed.data.device, dtype=packed.data.dtype))[1]


class Padded(nn.Module):
    """Packs and pads with every combination of arguments. Values have one, two or three axes."""

    def forward(self, x, lengths):
        results = []
        for batch_first, value, total in itertools.product((False, True), (0.0, -3.0), (None, 50)):
            for steps in (x, x[..., 0], x[..., None] * x[..., None, :]):
                packed = pack_padded_sequence(steps, lengths, batch_first=True, enforce_sorted=False)
                results.append(pad_packed_sequence(packed, batch_first, value, total))
        return results


PACKED.add("every combination of arguments", Padded)


@refused(field_read("batch_sizes", "or computes with it"), is_located=False)
def rows_read(self, x, n):
    packed = self.pack(x, n)
    return self.gru(packed, x.new_zeros(1, int(packed.batch_sizes[0]), 4))[1]


@refused(field_read("unsorted_indices", "in index_select"), is_located=False)
def states_sorted(self, x, n):
    packed = self.pack(x, n)
    return self.gru(packed)[1].index_select(1, packed.unsorted_indices)


@refused(r"PackedSequence that was not made by pack_padded_sequence within", is_located=False)
def of_other_batch_sizes(self, x, n):
    packed = self.pack(x, n)
    return self.gru(PackedSequence(packed.data, torch.tensor([3, 2, 1, 1])))[1]


@refused(r"without the sorted_indices and unsorted_indices", is_located=False)
def indices_lost(self, x, n):
    packed = self.pack(x, n)
    return pad(PackedSequence(packed.data, packed.batch_sizes))


@refused(r"^forward returns a PackedSequence, or one of its fields", is_located=False)
def packed_returned(self, x, n):
    return self.gru(self.pack(x, n))


WRITTEN = r"^the module writes into the argument of pack_padded_sequence, .* x = x\.clone\(\) before"


@refused(WRITTEN, is_located=False)
def steps_written_into(self, x, n):
    x = x * 1
    packed = self.pack(x, n)
    x.mul_(2)
    return self.gru(packed)[1]


@refused(WRITTEN, is_located=False)
def results_written_into(self, x, n):
    packed = self.gru(self.pack(x, n))[0]
    padded = pad(packed, total_length=x.size(1))
    padded.mul_(2)
    return padded, self.lstm(packed)[1][0]


def of_lengths(name, expression, phrase, **more):
    """Add a refusal of a module that packs its input with other lengths."""

    def forward(self, x, n):
        return pad_packed_sequence(self.gru(expression(x, n))[0], batch_first=True)[0]

    forward.__name__ = name
    refused(phrase, is_located=False, **more)(forward)


pack = pack_padded_sequence
of_lengths("a list", lambda x, _: pack(x, [4, 2, 1], True), r"lengths as a list.*constants", is_core=True)
of_lengths("tolist", lambda x, n: pack(x, n.tolist(), True), r"tolist")
of_lengths("a tensor", lambda x, _: pack(x, torch.tensor([4, 2, 1]), True), r"fixed size 3.*batch axis is dynamic")
of_lengths("two axes", lambda x, n: pack(x, n[:, None], True), r"got lengths of shape .* expected \(batch,\)")
of_lengths("float lengths", lambda x, n: pack(x, n.float(), True), r"dtype torch\.float32; expected int64")
of_lengths("sequence first", lambda x, n: pack(x, n), r"lengths for a batch of .* Is batch_first correct?")
of_lengths("one axis", lambda x, n: pack(x[0, :, 0], n), r"got an input of 1 axes; expected \(batch, sequence,")


@refused(r"^pad_packed_sequence got a PackedSequence that was not made by", is_located=False)
def packed_outside(self, x, n):
    outside = PackedSequence(x.flatten(0, 1), torch.tensor([3, 2, 1, 1]))
    return pad(outside), n
