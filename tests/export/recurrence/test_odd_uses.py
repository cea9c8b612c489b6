"""What modules do with the results of recurrent layers, and around them, side by side in few modules."""

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention, softmax
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnserve.models import DirectionClassifier

AXES = {0: "batch", 1: "sequence"}
USES = []


def use(function):
    USES.append(function)
    return function


class Using(nn.Module):
    def __init__(self, functions):
        super().__init__()
        self.functions = functions
        self.gru = nn.GRU(3, 4, num_layers=2, bidirectional=True, batch_first=True)
        self.lstm = nn.LSTM(3, 4, batch_first=True)
        self.head = nn.Linear(4, 2)
        self.unregistered = [nn.GRU(3, 4, batch_first=True)]

    def forward(self, input, lengths):
        return [function(self, input, lengths) for function in self.functions]

    def packed(self, input, lengths):
        return pack_padded_sequence(input, lengths, batch_first=True, enforce_sorted=False)

    def trimmed(self, input, lengths):
        return pad_packed_sequence(self.lstm(self.packed(input, lengths))[0], batch_first=True)[0]


@use
def final_states_in_every_form(self, x, _lengths):
    output, h_n = self.gru(x)
    batch = x.shape[0]
    joined = torch.cat((h_n[-2], h_n[-1]), dim=1)
    zeros = torch.zeros(1, batch, 4)
    as_list = self.lstm(x, [zeros, zeros])[1]
    directions = output.view(batch, -1, 2, 4)
    return h_n.view(2, 2, batch, 4), h_n.permute(1, 0, 2).reshape(batch, -1), joined, directions[:, :, 0], as_list


@use
def grad_modes_and_autocast(self, x, _lengths):
    with torch.no_grad():
        one, _ = self.lstm(x)
    with torch.enable_grad():
        two, _ = self.lstm(x + 1)
    with torch.autocast("cpu", enabled=False):
        three, _ = self.lstm(x + 2)
    return one, two, self.head(three), self.unregistered[0](x)


@use
def results_twice_inputs_and_none(self, x, lengths):
    output, _ = self.lstm(x)
    return output, output, x, lengths, None


@use
def sorted_by_hand(self, x, lengths):
    ordered, order = lengths.sort(descending=True)
    back = order.argsort()
    output, h_n = self.gru(pack_padded_sequence(x[order], ordered.cpu(), batch_first=True))
    output, again = pad_packed_sequence(output, batch_first=True)
    return output[back], h_n[:, back], again[back]


@use
def lengths_computed(self, x, lengths):
    mask = torch.arange(x.size(1)).unsqueeze(0) < lengths.unsqueeze(1)
    output, h_n = self.gru(self.packed(x, mask.sum(dim=1).clamp(min=1)))
    return pad_packed_sequence(output.to("cpu").double(), batch_first=True)[0], h_n


@use
def trimmed_and_reshaped(self, x, lengths):
    output = self.trimmed(x, lengths)
    batch, longest, hidden = output.shape
    flat = self.head(output.contiguous().view(-1, hidden))
    again = self.head(output.reshape(batch * longest, hidden)).view(batch, longest, 2)
    residual = output[..., :3] + x[:, : output.size(1)]
    return flat.view(batch, -1, 2), again, residual, output.mean(1), softmax(output, 1), output.transpose(0, 1)


@use
def trimmed_and_cut(self, x, lengths):
    output = self.trimmed(x, lengths)
    pairs = torch.einsum("bth,bsh->bts", output, output)
    zeros = torch.zeros(output.shape[:2]) + output.new_zeros(output.size(0), output.size(1))
    return pairs, output[:, ::2], output[:, :3], output[:, 1:], output.flip(1), output.cumsum(1), zeros


@use
def total_length_from_the_values(self, x, lengths):
    output, _ = self.lstm(self.packed(x, lengths))
    return pad_packed_sequence(output, batch_first=True, total_length=lengths.max().item())[0]


@use
def cut_to_the_longest_before_packing(self, x, lengths):
    return self.trimmed(x[:, : lengths.max()], lengths)


@use
def numbers_packed(self, x, lengths):
    numbers = (x[..., 0] * 10).long()
    return pad_packed_sequence(self.packed(numbers, lengths), batch_first=True, padding_value=-3)


@use
def attention(self, x, lengths):
    output, (h_n, _) = self.lstm(self.packed(x, lengths))
    output, lengths = pad_packed_sequence(output, batch_first=True)
    scores = torch.bmm(output, h_n[-1].unsqueeze(2)).squeeze(2)
    mask = torch.arange(output.size(1)).expand(output.size(0), output.size(1)) < lengths.unsqueeze(1)
    weights = softmax(scores.masked_fill(~mask, -1e9), dim=1)
    heads = output.unsqueeze(1)
    return torch.bmm(weights.unsqueeze(1), output), weights, scaled_dot_product_attention(heads, heads, heads)


@use
def halves(self, x, _lengths):
    middle = x.size(1) // 2
    _, state = self.lstm(x[:, : middle + 1])
    return self.lstm(x[:, middle:], state)[0], x[:, middle]


@pytest.mark.parametrize("first", range(0, len(USES), 4))
def test_uses_equal_eager(ragged, first):
    torch.manual_seed(3)
    ragged(Using(USES[first : first + 4]))


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_the_classifier(exported, cell):
    torch.manual_seed(4)
    names = 1 + (cell == "lstm")

    def arguments(lengths):
        states = [torch.randn(4, len(lengths), 16) for _ in range(names)]
        return torch.randn(len(lengths), 11, 2), torch.tensor(lengths), *states

    module = DirectionClassifier(cell=cell, num_layers=2, bidirectional=True)
    result = exported(module, arguments([11, 3, 4]), (AXES, {0: "batch"}, *[{1: "batch"}] * names))
    for lengths in ([11], [1], [4, 11, 2, 9, 1], [2, 2]):
        result.agrees(*arguments(lengths))
    assert result.layers == 2


def test_sequences_of_two_sizes(exported):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(3, 4)

        def forward(self, *both):
            return self.gru(both[1], self.gru(both[0])[1])

    shapes = ({0: "source", 1: "batch"}, {0: "target", 1: "batch"})
    result = exported(Two(), (torch.randn(4, 2, 3), torch.randn(4, 2, 3)), shapes)
    result.agrees(torch.randn(1, 5, 3), torch.randn(9, 5, 3))
    result.agrees(torch.randn(7, 1, 3), torch.randn(1, 1, 3))
    assert result.axes("outputs") == [["target", "batch", 4], [1, "batch", 4]]


def test_words_within_sentences(exported):
    class Hierarchy(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.GRU(3, 4, batch_first=True)
            self.sentences = nn.LSTM(4, 5, batch_first=True, bidirectional=True)

        def forward(self, input):
            batch, sentences, words, features = input.shape
            _, h_n = self.words(input.view(batch * sentences, words, features))
            return self.sentences(h_n[-1].view(batch, sentences, -1))

    result = exported(Hierarchy(), (torch.randn(2, 3, 4, 3),), ({0: "batch", 1: "sentences", 2: "words"},))
    result.agrees(torch.randn(5, 1, 7, 3))
    result.agrees(torch.randn(1, 8, 1, 3))
    assert result.layers == 2


def test_hooks_and_torch_compile(plain):
    module = nn.GRU(3, 4, batch_first=True)
    module.register_forward_pre_hook(lambda _, inputs: (inputs[0] + 1,))
    module.register_forward_hook(lambda _, __, results: (results[0] * 2, results[1]))
    plain(nn.Sequential(module))
    plain(torch.compile(nn.LSTM(3, 4, batch_first=True), backend="eager"), sizes=())
