"""Packed sequences: what modules do with their values and their order, exported as it is or refused."""

import itertools

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import (
    PackedSequence,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
    unpack_sequence,
    unpad_sequence,
)

from kit.corpus.rows import LENGTHS, Family, X, lengths

__all__ = ["OF_SORTED", "PACKED", "PADDED"]


class Packs(nn.Module):
    def __init__(self, enforce_sorted=False):
        super().__init__()
        self.enforce_sorted = enforce_sorted
        self.rnn, self.lstm = nn.GRU(3, 4), nn.LSTM(4, 4, bidirectional=True)
        self.linear, self.gate, self.head = nn.Linear(3, 3), nn.Linear(3, 4), nn.Linear(4, 5)
        self.square = nn.Linear(4, 4)
        self.embedding, self.norm, self.layer = nn.Embedding(7, 3), nn.BatchNorm1d(3), nn.LayerNorm(4)
        self.convolution, self.prelu, self.dropout = nn.Conv1d(1, 2, 2), nn.PReLU(3), nn.Dropout(0.5)
        with torch.no_grad():
            self.norm.running_mean.uniform_()
            self.norm.running_var.uniform_(0.5, 2.0)

    def pack(self, x, lengths):
        return pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=self.enforce_sorted)


def pad(packed, **options):
    """Give the padded values."""
    return pad_packed_sequence(packed, batch_first=True, **options)[0]


def of(packed, data):
    """Give a sequence of other values that is packed likewise."""
    return PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)


class PacksSorted(Packs):
    def __init__(self):
        super().__init__(enforce_sorted=True)


PACKED = Family("packed sequences", Packs, (X, LENGTHS), longer=True)
OF_SORTED = Family("sorted packed sequences", PacksSorted, (X, lengths(is_sorted=True)))
right, core, refused = PACKED.right, PACKED.core, PACKED.refused


def computed(name, compute, phrase="", **more):
    """Add a row of a module that pads what it computes of the values of a packed sequence."""

    def forward(self, x, n):
        packed = self.pack(x, n)
        return pad(of(packed, compute(self, packed.data)))

    forward.__name__ = name
    right(forward, refused=phrase, **more)


NO_VALUES = r"^{} \(at \w+\.py:\d+\) computes with `data` of a PackedSequence\. .* Pad first: call pad_packed_sequence"

computed("mean", lambda _, data: data - data.mean(0), NO_VALUES.format("mean"))
computed("all pairs", lambda _, data: torch.softmax(data @ data.T, 1) @ data, NO_VALUES.format("(t|numpy_T|permute)"))
computed("by their number", lambda _, data: data / data.size(0), NO_VALUES.format("size"))
computed("weights of values", lambda self, data: F.linear(self.embedding.weight, data), NO_VALUES.format("linear"))
computed("products of all pairs", lambda _, data: F.linear(data, data), NO_VALUES.format("linear"))
computed("of one axis", lambda self, data: F.linear(data, self.gate.weight).sum(1), NO_VALUES.format("sum"))
computed("normalised over all", lambda _, data: F.layer_norm(data, data.shape), NO_VALUES.format("size|layer_norm"))
computed(
    "batch statistics",
    lambda _, data: F.batch_norm(data, None, None, training=True),
    r"^the module's code depends on the number of values in `data` of a PackedSequence \(at packed",
)


@core
def linear_before_the_layer(self, x, n):
    packed = self.pack(x, n)
    output, h_n = self.rnn(of(packed, self.linear(packed.data)))
    return pad(output), h_n


@right
def linear_after_the_layer(self, x, n):
    output, h_n = self.rnn(self.pack(x, n))
    return pad(of(output, self.head(output.data)), padding_value=-7.0), h_n


@right
def replaced(self, x, n):
    packed = self.pack(x, n)
    return pad(self.rnn(packed._replace(data=torch.tanh(packed.data)))[0], total_length=x.size(1))


@right
def unpacked(self, x, n):
    data, batch_sizes, order, _ = self.pack(x, n)
    return self.rnn(PackedSequence(F.relu(self.linear(data)), batch_sizes, order))[1]


@right
def by_place(self, x, n):
    packed = self.pack(x, n)
    return self.rnn(PackedSequence(packed[0] * 2, *packed[1:]))[1]


@right
def dropout_between_layers(self, x, n):
    packed = self.rnn(self.pack(x, n))[0]
    output, (h_n, c_n) = self.lstm(of(packed, self.dropout(packed.data)))
    return pad(output), h_n, c_n


@right
def layers_of_a_language_model(self, x, n):
    packed = self.rnn(self.pack(x, n))[0]
    for _ in range(2):
        before = packed.data
        data = F.gelu(self.layer(self.square(self.dropout(before)))) + before
        packed = of(packed, data)
    return pad(of(packed, torch.sigmoid(self.head(packed.data))))


@right
def ids_embedded(self, x, n):
    packed = self.pack((x[..., 0].abs() * 3).long().clamp(max=6), n)
    return self.rnn(of(packed, self.embedding(packed.data)))[1]


@right
def values_without_a_logarithm_in_the_padding(self, x, n):
    inside = torch.arange(x.size(1)) < n[:, None]
    packed = self.pack((x.abs() + 1) * inside[..., None], n)
    packed = of(packed, torch.log(packed.data))
    return pad(packed), self.rnn(packed)[1]


@core
def packed_again_and_again(self, x, n):
    packed = self.pack(x, n)
    padded = pad(of(packed, self.linear(packed.data)), total_length=x.size(1))
    packed = self.pack(padded, n)
    padded = pad(of(packed, self.linear(packed.data)))
    packed = self.pack(padded, n)
    return self.rnn(of(packed, packed.data + 1))[1]


@right
def one_for_several(self, x, n):
    packed = self.pack(x, n)
    changed = of(packed, self.linear(packed.data))
    return self.rnn(packed)[1], self.rnn(changed)[1], pad(changed), pad(of(changed, changed.data.abs())), pad(packed)


@right
def of_another_dtype(self, x, n):
    packed = self.pack(x, n)
    packed = of(packed, packed.data.double()).to(torch.float32)
    return self.rnn(packed)[1], pad(of(packed, packed.data > 0).to(torch.int32))


@right
def states_in_the_order_of_rows(self, x, n):
    packed = self.pack(x, n)
    return self.rnn(of(packed, packed.data), x[:, :1, :1].transpose(0, 1).repeat(1, 1, 4))[1]


@right(together=1)
def loop_beside(self, x, n):
    packed = self.pack(x, n)
    h, states = x.new_zeros(x.size(0), 3), []
    for at in range(x.size(1)):
        h = torch.tanh(h + x[:, at])
        states.append(h)
    return pad(of(packed, self.linear(packed.data))), torch.stack(states, 1)


@right
def checked(self, x, n):
    packed = self.pack(x, n)
    assert packed.data.dim() == 2
    assert packed.data.size(0) > 0
    return self.rnn(packed, torch.zeros(1, x.size(0), 4, device=packed.data.device, dtype=packed.data.dtype))[1]


@right
def steps_written_into_before(self, x, n):
    x = x * 2
    x[:, 0] = 0
    packed = self.pack(x, n)
    padded = pad(self.rnn(packed)[0], total_length=x.size(1))
    padded.mul_(2)
    x = x.clone()
    x.add_(1)
    return padded, x, pad(of(packed, packed.data * 2))


@right
def lengths_that_are_moved_each_time(self, x, n):
    one, other = self.pack(x, n.cpu()), self.pack(x + 1, n.to("cpu").to(torch.int64))
    return pad(of(one, one.data * other.data))


@OF_SORTED.core
def elementwise_apply(self, x, n):
    packed = self.pack(x, n)
    return pad(PackedSequence(self.linear(packed.data), packed.batch_sizes))


@OF_SORTED.right
def with_no_indices(self, x, n):
    packed = self.pack(x, n)
    assert packed.sorted_indices is None
    return self.rnn(of(packed, packed.data * 2))[1]


int32 = X, lengths(dtype=torch.int32)
for way in (packed_again_and_again, ids_embedded):
    name = f"{way.__name__}_of_int32"
    right(type(name, (Packs,), {"forward": way}), arguments=int32)


class Padded(nn.Module):
    """Pads what it has packed, in every combination of arguments; values have one, two or three axes."""

    def forward(self, x, lengths):
        results = []
        for batch_first, value, total in itertools.product((False, True), (0.0, -3.0), (None, 50)):
            for steps in (x, x[..., 0], x[..., None] * x[..., None, :]):
                packed = pack_padded_sequence(steps, lengths, batch_first=True, enforce_sorted=False)
                results.append(pad_packed_sequence(packed, batch_first, value, total))
        return results


PADDED = Family("padding", nn.Module, (X, LENGTHS), longer=True)
PADDED.add("every combination of arguments", Padded)


@refused(r"`batch_sizes` of a PackedSequence, \[0\]", is_located=False)
def rows_read(self, x, n):
    packed = self.pack(x, n)
    return self.rnn(packed, packed.data.new_zeros(1, int(packed.batch_sizes[0]), 4))[1]


@refused(r"`batch_sizes` of a PackedSequence, each of it", is_located=False)
def steps_in_turn(self, x, n):
    packed = self.pack(x, n)
    return torch.stack([packed.data[:size].sum(0) for size in packed.batch_sizes])


@refused(r"`unsorted_indices` of a PackedSequence, in index_select", is_located=False)
def states_sorted(self, x, n):
    packed = self.pack(x, n)
    return self.rnn(packed)[1].index_select(1, packed.unsorted_indices)


@refused(r"`unsorted_indices` of a PackedSequence", is_located=False)
def states_indexed(self, x, n):
    packed = self.pack(x, n)
    return self.rnn(packed)[1][:, packed.unsorted_indices]


@refused(r"PackedSequence that was not made by pack_padded_sequence within", is_located=False)
def of_other_batch_sizes(self, x, n):
    packed = self.pack(x, n)
    return self.rnn(PackedSequence(packed.data, torch.tensor([3, 2, 1, 1])))[1]


@refused(r"without the sorted_indices and unsorted_indices", is_located=False)
def indices_lost(self, x, n):
    packed = self.pack(x, n)
    return pad(PackedSequence(self.linear(packed.data), packed.batch_sizes))


@refused(r"without the sorted_indices and unsorted_indices", is_located=False)
def indices_replaced(self, x, n):
    packed = self.pack(x, n)
    return pad(packed._replace(unsorted_indices=None))


@refused(r"^the module's code depends on the number of values in `data` of a PackedSequence \(at packed")
def by_their_number_in_python(self, x, n):
    packed = self.pack(x, n)
    return self.rnn(packed)[1] * (2 if packed.data.size(0) > 5 else 1)


@refused(r"^forward returns a PackedSequence, or a field of one", is_located=False)
def packed_returned(self, x, n):
    return self.rnn(self.pack(x, n))


@refused(r"^forward returns a PackedSequence, or a field of one", is_located=False)
def batch_sizes_returned(self, x, n):
    return self.pack(x, n).batch_sizes


@refused(r"returns `data` of a PackedSequence")
def returned(self, x, n):
    return self.pack(x, n).data


@refused(r"returns `data` of a PackedSequence \(at \w+\.py:\d+\), or what it computes")
def computed_and_returned(self, x, n):
    return self.head(self.rnn(self.pack(x, n))[0].data)


@refused(NO_VALUES.format("mul_"))
def written_into(self, x, n):
    packed = self.pack(x, n)
    packed.data.mul_(2)
    return self.rnn(packed)[1]


WRITTEN = r"^the module writes into a tensor after pack_padded_sequence has taken it, .* x = x\.clone\(\) before"


@refused(WRITTEN, is_located=False)
def steps_written_into(self, x, n):
    x = x * 1
    packed = self.pack(x, n)
    x.mul_(2)
    return self.rnn(packed)[1]


@refused(WRITTEN, is_located=False)
def a_part_of_the_steps_written_into(self, x, n):
    x = x * 1
    packed = self.pack(x, n)
    x[:, 0] = 0
    return pad(of(packed, packed.data * 2))


@refused(WRITTEN, is_located=False)
def lengths_written_into(self, x, n):
    n = n.clone()
    packed = self.pack(x, n)
    n.clamp_(max=1)
    return self.rnn(packed)[1]


@refused(WRITTEN, is_located=False)
def results_written_into(self, x, n):
    packed = self.rnn(self.pack(x, n))[0]
    padded = pad(packed, total_length=x.size(1))
    padded.mul_(2)
    return padded, self.lstm(packed)[1][0]


@refused(NO_VALUES.format("add"))
def of_other_lengths(self, x, n):
    one, other = self.pack(x, n), self.pack(x, (n - 1).clamp(min=1))
    return pad(of(one, one.data + other.data))


@refused(NO_VALUES.format("(size|symbolic_multi_out)"))
def carried_by_a_loop(self, x, n):
    packed = self.pack(x, n)
    data = packed.data
    for at in range(x.size(1)):
        data = torch.tanh(data) * x[0, at]
    return pad(of(packed, data))


@refused(r"of values that are not packed alike\. .* Pad first")
def filled_into_other_lengths(self, x, n):
    one, other = self.pack(x, n), self.pack(x, (n - 1).clamp(min=1))
    return pad(of(one, other.data))


@refused(r"of values that are not packed alike\. .* Pad first")
def filled_with_steps(self, x, n):
    packed = self.pack(x, n)
    return pad(of(packed, x.transpose(0, 1).reshape(-1, 3)))


@refused(NO_VALUES.format("(add|size)"))
def joined_with_steps(self, x, n):
    packed = self.pack(x, n)
    return pad(of(packed, packed.data + x.transpose(0, 1).reshape(-1, 3)))


@refused(NO_VALUES.format("size"))
def asserted_number(self, x, n):
    packed = self.pack(x, n)
    torch._check(packed.data.size(0) == x.size(0))
    return pad(of(packed, packed.data * 2))


@refused(r"cond.* computes with `data`.* Pad first", is_located=False)
def of_a_branch(self, x, n):
    packed = self.pack(x, n)
    return pad(of(packed, torch.cond(x.sum() > 0, lambda data: data * 2, lambda data: data * 3, (packed.data,))))


def of_lengths(name, expression, phrase, **more):
    """Add a refusal of a module that packs its input with other lengths."""

    def forward(self, x, n):
        return pad_packed_sequence(self.rnn(expression(x, n))[0], batch_first=True)[0]

    forward.__name__ = name
    refused(phrase, is_located=False, **more)(forward)


pack = pack_padded_sequence
of_lengths("a list", lambda x, _: pack(x, [4, 2, 1], True), r"lengths as a list.*constants of the file", is_core=True)
of_lengths("tolist", lambda x, n: pack(x, n.tolist(), True), r"tolist")
of_lengths("a tensor", lambda x, _: pack(x, torch.tensor([4, 2, 1]), True), r"fixed size 3.*batch axis is dynamic")
of_lengths("two axes", lambda x, n: pack(x, n[:, None], True), r"got lengths of shape .* expected \(batch,\)")
of_lengths("float lengths", lambda x, n: pack(x, n.float(), True), r"dtype torch\.float32; expected int64")
of_lengths("complex lengths", lambda x, n: pack(x, n.to(torch.complex64), True), r"dtype torch\.complex64; expected")
of_lengths("sequence first", lambda x, n: pack(x, n), r"lengths for a batch of .* Is batch_first as it should be\?")
of_lengths("one axis", lambda x, n: pack(x[0, :, 0], n), r"got an input of 1 axes; expected \(batch, sequence,")
of_lengths("pack_sequence", lambda x, _: pack_sequence([x[0], x[1]]), r"pack_sequence.*constants of the file")


@refused("unpack_sequence", is_located=False)
def of_unpack_sequence(self, x, n):
    return unpack_sequence(self.rnn(self.pack(x, n))[0])


@refused("unpad_sequence", is_located=False)
def of_unpad_sequence(self, x, n):
    return unpad_sequence(x, n, batch_first=True)


@refused(r"^pad_packed_sequence got a PackedSequence that was not made by", is_located=False)
def packed_outside(self, x, n):
    outside = PackedSequence(x.flatten(0, 1), torch.tensor([3, 2, 1, 1]))
    return pad(outside), n
