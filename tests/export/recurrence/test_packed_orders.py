"""What modules do with the order of packed sequences, beside handing it on: refused."""

import pytest
import torch
from torch.nn.utils.rnn import PackedSequence

from kit.packing_modules import Refusals, pad

refused = Refusals()


@refused(r"`batch_sizes` of a PackedSequence, \[0\]")
def rows_read(self, x, n):
    packed = self.pack(x, n)
    return self.rnn(packed, packed.data.new_zeros(1, int(packed.batch_sizes[0]), 4))[1]


@refused(r"`batch_sizes` of a PackedSequence, each of it")
def steps_in_turn(self, x, n):
    packed = self.pack(x, n)
    return torch.stack([packed.data[:size].sum(0) for size in packed.batch_sizes])


@refused(r"`unsorted_indices` of a PackedSequence, in index_select")
def states_sorted(self, x, n):
    packed = self.pack(x, n)
    return self.rnn(packed)[1].index_select(1, packed.unsorted_indices)


@refused(r"`unsorted_indices` of a PackedSequence")
def states_indexed(self, x, n):
    packed = self.pack(x, n)
    return self.rnn(packed)[1][:, packed.unsorted_indices]


@refused(r"PackedSequence that was not made by pack_padded_sequence within")
def of_other_batch_sizes(self, x, n):
    packed = self.pack(x, n)
    return self.rnn(PackedSequence(packed.data, torch.tensor([3, 2, 1, 1])))[1]


@refused(r"without the sorted_indices and unsorted_indices")
def indices_lost(self, x, n):
    packed = self.pack(x, n)
    return pad(PackedSequence(self.linear(packed.data), packed.batch_sizes))


@refused(r"without the sorted_indices and unsorted_indices")
def indices_replaced(self, x, n):
    packed = self.pack(x, n)
    return pad(packed._replace(unsorted_indices=None))


@pytest.mark.parametrize("way", refused)
def test_what_would_be_wrong_is_refused(way):
    refused.check(way)
