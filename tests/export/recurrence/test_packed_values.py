"""What modules do with the values of packed sequences where each is computed with by itself: exported as it is."""

import pytest
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import PackedSequence

from kit.packing_modules import Packs, of, pad

SORTED = ([1], [6], [9, 9, 5, 2, 1], [3, 3, 3], [13, 1])

RIGHT, OF_SORTED = {}, {}


def right(way):
    RIGHT[way.__name__] = way
    return way


def of_sorted(way):
    OF_SORTED[way.__name__] = way
    return way


@right
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
def two_joined(self, x, n):
    one, other = self.pack(x, n), self.rnn(self.pack(x * 2, n))[0]
    return pad(of(one, torch.cat([one.data, other.data, one.data], 1)))


@right
def ids_embedded(self, x, n):
    packed = self.pack((x[..., 0].abs() * 3).long().clamp(max=6), n)
    return self.rnn(of(packed, self.embedding(packed.data)))[1]


@right
def ids_that_no_embedding_has_in_the_padding(self, x, n):
    inside = torch.arange(x.size(1)) < n[:, None]
    packed = self.pack(torch.where(inside, (x[..., 0].abs() * 3).long().clamp(max=6), -100), n)
    table = self.embedding.weight[packed.data]
    return pad(of(packed, table)), pad(packed), pad(of(packed, F.one_hot(packed.data, 7)))


@right
def values_without_a_logarithm_in_the_padding(self, x, n):
    inside = torch.arange(x.size(1)) < n[:, None]
    packed = self.pack((x.abs() + 1) * inside[..., None], n)
    packed = of(packed, torch.log(packed.data))
    return pad(packed), self.rnn(packed)[1]


@right
def normalised(self, x, n):
    packed = self.pack(x, n)
    data = self.prelu(self.norm(packed.data))
    data = F.layer_norm(data, (3,)) + F.normalize(data, dim=1) + F.softmax(data, -1) + data.cumsum(1).flip(1)
    return pad(self.rnn(of(packed, data))[0])


@right
def gates_between_two(self, x, n):
    packed = self.pack(x, n)
    for _ in range(2):
        output = self.rnn(packed)[0]
        gate = torch.sigmoid(self.gate(packed.data))
        mixed = output.data * gate + (1 - gate) * torch.cat([packed.data, gate[:, :1]], 1)
        packed = of(packed, self.layer(mixed)[:, :3])
    return pad(packed)


@right
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
def divided_and_moved(self, x, n):
    packed = self.pack(x, n)
    data = packed.data
    parts = data.view(-1, 3, 1).transpose(1, 2).reshape(data.size(0), 3)
    one, other = torch.cat([data, data * 2], -1).chunk(2, dim=1)
    chosen = torch.stack([data, one, other], 1)[:, [2, 0]].sum(1) + data[:, :1] - data.amax(-1, keepdim=True)
    return pad(of(packed, parts)), pad(of(packed, chosen)), pad(of(packed, data.argmax(1)))


@right
def convolved(self, x, n):
    packed = self.pack(x, n)
    return pad(of(packed, self.convolution(packed.data.unsqueeze(1)).amax(2)))


@right
def multiplied(self, x, n):
    packed = self.pack(x, n)
    weight = self.linear.weight
    outer = torch.bmm(packed.data.unsqueeze(2), packed.data.unsqueeze(1)).flatten(1)
    sums = packed.data @ weight + torch.mm(packed.data, weight) + torch.addmm(self.linear.bias, packed.data, weight)
    return pad(of(packed, outer)), pad(of(packed, sums))


@right
def made_of_their_number(self, x, n):
    packed = self.pack(x, n)
    ones, zeros = torch.ones(packed.data.size(0), 1), packed.data.new_zeros(packed.data.size(0), 1)
    bias = self.linear.bias.unsqueeze(0).expand(packed.data.size(0), -1)
    h_0 = packed.data.new_zeros(1, x.size(0), 4)
    data = torch.cat([packed.data, ones, zeros, bias, torch.zeros_like(packed.data)], 1)
    return pad(of(packed, data)), self.rnn(packed, h_0)[1]


@right
def written_into_what_is_computed(self, x, n):
    packed = self.pack(x, n)
    data = self.linear(packed.data)
    data += self.linear.bias
    data[:, 0] = packed.data[:, 1]
    data[:, 1:2].mul_(3)
    return pad(of(packed, F.relu(data, inplace=True)))


@right
def of_another_dtype(self, x, n):
    packed = self.pack(x, n)
    packed = of(packed, packed.data.double()).to(torch.float32)
    return self.rnn(packed)[1], pad(of(packed, packed.data > 0).to(torch.int32))


@right
def states_in_the_order_of_rows(self, x, n):
    packed = self.pack(x, n)
    return self.rnn(of(packed, packed.data), x[:, :1, :1].transpose(0, 1).repeat(1, 1, 4))[1]


@right
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


@of_sorted
def elementwise_apply(self, x, n):
    packed = self.pack(x, n)
    return pad(PackedSequence(self.linear(packed.data), packed.batch_sizes))


@of_sorted
def features_joined(self, x, n):
    packed = [self.pack(each, n) for each in (x, x * 2)]
    joined = PackedSequence(torch.cat([each.data for each in packed], 1)[:, 1:4], packed[0].batch_sizes)
    output = self.rnn(joined)[0]
    return pad(PackedSequence(self.head(self.dropout(output.data)), packed[1].batch_sizes))


@of_sorted
def with_no_indices(self, x, n):
    packed = self.pack(x, n)
    assert packed.sorted_indices is None
    return self.rnn(of(packed, packed.data * 2))[1]


@pytest.mark.parametrize("way", RIGHT)
def test_values_are_those_of_eager(way, ragged):
    torch.manual_seed(0)
    result = ragged(Packs(RIGHT[way]), beyond=2)
    assert not any("packed" in operator for operator in result.operators)


@pytest.mark.parametrize("way", OF_SORTED)
def test_values_of_sorted_rows_are_those_of_eager(way, ragged):
    torch.manual_seed(0)
    ragged(Packs(OF_SORTED[way], enforce_sorted=True), lengths=SORTED)


@pytest.mark.parametrize("way", ["two_joined", "packed_again_and_again", "ids_embedded"])
def test_lengths_of_int32(way, ragged):
    ragged(Packs(RIGHT[way]), dtype=torch.int32)


def test_lengths_that_are_moved_each_time(ragged):
    def way(self, x, n):
        one, other = self.pack(x, n.cpu()), self.pack(x + 1, n.to("cpu").to(torch.int64))
        return pad(of(one, one.data * other.data))

    ragged(Packs(way))
