"""What modules do with the values of packed sequences that an exported module would have otherwise: refused."""

import re

import pytest
import torch
import torch.nn.functional as F

from kit.packing_modules import Refusals, of, pad, refusal_of

refused = Refusals()


@refused(r"aten\.mean\.dim")
def mean(self, x, n):
    packed = self.pack(x, n)
    return pad(of(packed, packed.data - packed.data.mean(0)))


@refused(r"aten\.sum\.default")
def sum_of_all(self, x, n):
    return self.rnn(self.pack(x, n))[0].data.sum()


@refused(r"aten\.cumsum\.default")
def cumulated(self, x, n):
    packed = self.pack(x, n)
    return pad(of(packed, packed.data.cumsum(0)))


@refused(r"aten\.select\.int")
def first(self, x, n):
    packed = self.pack(x, n)
    return pad(of(packed, packed.data + packed.data[0]))


@refused(r"aten\.slice\.Tensor")
def differences(self, x, n):
    packed = self.pack(x, n)
    return pad(of(packed, F.pad(packed.data[1:] - packed.data[:-1], (0, 0, 1, 0))))


@refused(r"aten\.flip\.default")
def flipped(self, x, n):
    packed = self.pack(x, n)
    return pad(of(packed, packed.data.flip(0)))


@refused(r"aten\.roll\.default")
def rolled(self, x, n):
    packed = self.pack(x, n)
    return pad(of(packed, packed.data.roll(1)))


@refused(r"aten\.sort\.stable")
def sorted_values(self, x, n):
    packed = self.pack(x, n)
    return pad(of(packed, torch.sort(packed.data, dim=0, stable=True).values))


@refused(r"aten\.(t|numpy_T|permute|transpose)")
def all_pairs(self, x, n):
    packed = self.pack(x, n)
    return pad(of(packed, torch.softmax(packed.data @ packed.data.T, 1) @ packed.data))


@refused(r"aten\.softmax\.int")
def softmax_over_all(self, x, n):
    packed = self.pack(x, n)
    return pad(of(packed, torch.softmax(packed.data, 0)))


@refused(r"aten\.softmax\.int")
def softmax_of_scores(self, x, n):
    packed = self.pack(x, n)
    return pad(of(packed, packed.data * torch.softmax(packed.data[:, 0], -1).unsqueeze(1)))


@refused(r"^the module's code depends on the number of values in `data` of a PackedSequence \(at test_packed_refusals")
def batch_statistics(self, x, n):
    packed = self.pack(x, n)
    return pad(of(packed, F.batch_norm(packed.data, None, None, training=True)))


@refused(r"aten\.cat\.default")
def joined_along_the_values(self, x, n):
    packed = self.pack(x, n)
    return pad(of(packed, torch.cat([packed.data, packed.data])[: packed.data.size(0)]))


@refused(r"aten\.(view|reshape)\.default")
def pairs_of_values(self, x, n):
    packed = self.pack(x, n)
    return pad(of(packed, (packed.data.reshape(-1, 1) * 2).reshape(-1, 3)))


@refused(r"aten\.index\.Tensor")
def chosen(self, x, n):
    packed = self.pack(x, n)
    return packed.data[packed.data[:, 0] > 0].amax(0)


@refused(r"aten\.arange\.default.* computes with the number of values")
def numbered(self, x, n):
    packed = self.pack(x, n)
    return pad(of(packed, packed.data + torch.arange(packed.data.size(0)).unsqueeze(1)))


@refused(r"aten\.(mul|div)\.(Tensor|Scalar).* computes with the number of values")
def by_their_number(self, x, n):
    packed = self.pack(x, n)
    return pad(of(packed, packed.data / packed.data.size(0)))


@refused(r"aten\.div\.Tensor.* computes with the number of values")
def mean_of_others(self, x, n):
    packed = self.pack(x, n)
    return self.rnn(packed)[1] / packed.data.shape[0]


@refused(r"aten\.full\.default.* computes with the number of values")
def their_number(self, x, n):
    packed = self.pack(x, n)
    return self.rnn(packed)[1] + torch.full((1, 1, 4), packed.data.numel())


@refused(r"^the module's code depends on the number of values in `data` of a PackedSequence \(at test_packed_refusals")
def by_their_number_in_python(self, x, n):
    packed = self.pack(x, n)
    return self.rnn(packed)[1] * (2 if packed.data.size(0) > 5 else 1)


@refused(r"computes with the number of values")
def one_after_the_other(self, x, n):
    packed = self.pack(x, n)
    return torch.stack([packed.data[at].tanh() for at in range(packed.data.size(0))])


@refused(r"^forward returns a PackedSequence, or a field of one")
def packed_returned(self, x, n):
    return self.rnn(self.pack(x, n))


@refused(r"^forward returns a PackedSequence, or a field of one")
def batch_sizes_returned(self, x, n):
    return self.pack(x, n).batch_sizes


@refused(r"aten\.pad\.default")
def shifted(self, x, n):
    packed = self.pack(x, n)
    return pad(of(packed, F.pad(packed.data, (0, 0, 1, -1))))


@refused(r"aten\.linear\.default")
def weights_of_values(self, x, n):
    packed = self.pack(x, n)
    return pad(of(packed, F.linear(self.embedding.weight, packed.data).sum(0).unsqueeze(1)))


@refused(r"returns `data` of a PackedSequence")
def returned(self, x, n):
    return self.pack(x, n).data


@refused(r"returns `data` of a PackedSequence \(at packing_modules\.py:\d+\), or what it computes")
def computed_and_returned(self, x, n):
    return self.head(self.rnn(self.pack(x, n))[0].data)


@refused(r"aten\.mul_\.Tensor.* writes into `data`")
def written_into(self, x, n):
    packed = self.pack(x, n)
    packed.data.mul_(2)
    return self.rnn(packed)[1]


@refused(r"aten\.(fill_|copy_|zero_).* writes into `data`")
def written_into_a_part(self, x, n):
    packed = self.pack(x, n)
    packed.data[:, 0] = 0
    return self.rnn(packed)[1]


@refused(r"aten\.add_\.Tensor.* writes into `data`")
def written_into_after_dropout(self, x, n):
    packed = self.pack(x, n)
    data = self.dropout(packed.data)
    data += 1
    return self.rnn(packed)[1], pad(of(packed, data))


@refused(r"aten\.copy_\.default")
def written_elsewhere(self, x, n):
    steps = x.new_zeros(x.size(0) * x.size(1), 3)
    steps.copy_(self.pack(x, n).data)
    return steps.view(x.shape)


WRITTEN = r"^the module writes into a tensor after pack_padded_sequence has taken it, .* x = x\.clone\(\) before"


@refused(WRITTEN)
def steps_written_into(self, x, n):
    x = x * 1
    packed = self.pack(x, n)
    x.mul_(2)
    return self.rnn(packed)[1]


@refused(WRITTEN)
def a_part_of_the_steps_written_into(self, x, n):
    x = x * 1
    packed = self.pack(x, n)
    x[:, 0] = 0
    return pad(of(packed, packed.data * 2))


@refused(WRITTEN)
def lengths_written_into(self, x, n):
    n = n.clone()
    packed = self.pack(x, n)
    n.clamp_(max=1)
    return self.rnn(packed)[1]


@refused(WRITTEN)
def results_written_into(self, x, n):
    packed = self.rnn(self.pack(x, n))[0]
    padded = pad(packed, total_length=x.size(1))
    padded.mul_(2)
    return padded, self.lstm(packed)[1][0]


@refused(r"with other lengths or numbers of steps")
def of_other_lengths(self, x, n):
    one, other = self.pack(x, n), self.pack(x, (n - 1).clamp(min=1))
    return pad(of(one, one.data + other.data))


@refused(r"^aten\.add\.Tensor.* with other lengths or numbers of steps")
def of_more_steps(self, x, n):
    one, other = self.pack(x, n), self.pack(torch.cat([x, x], 1), n)
    return pad(of(one, one.data + other.data))


@refused(r"^a loop over steps \(at packing_modules\.py:\d+\)")
def carried_by_a_loop(self, x, n):
    packed = self.pack(x, n)
    data = packed.data
    for at in range(x.size(1)):
        data = torch.tanh(data) * x[0, at]
    return pad(of(packed, data))


@refused(r"of other values than those of one with the same lengths")
def filled_into_other_lengths(self, x, n):
    one, other = self.pack(x, n), self.pack(x, (n - 1).clamp(min=1))
    return pad(of(one, other.data))


@refused(r"of other values than those of one with the same lengths")
def filled_with_steps(self, x, n):
    packed = self.pack(x, n)
    return pad(of(packed, x.transpose(0, 1).reshape(-1, 3)))


@refused(r"aten\.add\.Tensor.* mixes|another size")
def joined_with_steps(self, x, n):
    packed = self.pack(x, n)
    return pad(of(packed, packed.data + x.transpose(0, 1).reshape(-1, 3)))


@refused(r"takes the number of values of a PackedSequence for another size")
def asserted_number(self, x, n):
    packed = self.pack(x, n)
    torch._check(packed.data.size(0) == x.size(0))
    return pad(of(packed, packed.data * 2))


@refused(r"aten\.one_hot\.default|unbacked symbols")
def as_many_classes_as_the_largest(self, x, n):
    packed = self.pack((x[..., 0].abs() * 3).long().clamp(max=6), n)
    return pad(of(packed, F.one_hot(packed.data)[:, :1]))


@refused(r"packs `data` of a PackedSequence again|mixes")
def packed_anew(self, x, n):
    packed = self.pack(x, n)
    return pad(self.pack(packed.data.unsqueeze(0).expand(x.size(0), -1, -1), n))


@pytest.mark.parametrize("way", refused)
def test_what_would_be_wrong_is_refused(way):
    refused.check(way)


def test_a_refusal_names_the_line_and_says_what_to_do():
    assert re.match(
        r"aten\.mean\.dim \(at packing_modules\.py:\d+\) mixes the values in `data` of a PackedSequence, .*"
        r"Work on the padded tensor instead",
        refusal_of(mean),
    )
