"""Modules as others write them: recurrent layers in odd places, with how many of them an export should hold."""

import functools

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from torch.nn.utils import rnn as packing  # isort: skip - the same functions, held in another way


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


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(3, 3, batch_first=True)

    def forward(self, input):
        once, state = self.gru(input)
        return self.gru(once, state)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Linear(3, 8)
        self.gru = nn.GRU(8, 8, batch_first=True, bidirectional=True)
        self.norm = nn.LayerNorm(16)
        self.score = nn.Linear(16, 1)

    def forward(self, input, lengths):
        embedded = self.embedding(input)
        packed = pack_padded_sequence(embedded, lengths.cpu(), batch_first=True, enforce_sorted=False)
        output, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True, total_length=input.size(1))
        output = self.norm(output + embedded.repeat(1, 1, 2))
        mask = torch.arange(input.size(1))[None, :] < lengths[:, None]
        weights = torch.softmax(self.score(output).squeeze(-1).masked_fill(~mask, float("-inf")), dim=1)
        return (weights.unsqueeze(-1) * output).sum(1), weights


class Trimmed(nn.Module):
    """Without total_length: trimmed to the longest row, whatever the input's size."""

    def __init__(self, batch_first=True, padding_value=0.0):
        super().__init__()
        self.rnn = nn.RNN(3, 5, batch_first=batch_first)
        self.head = nn.Linear(5, 2)
        self.batch_first, self.padding_value = batch_first, padding_value

    def forward(self, input, lengths):
        x = input if self.batch_first else input.transpose(0, 1)
        packed = pack_padded_sequence(x, lengths, batch_first=self.batch_first, enforce_sorted=False)
        output, state = self.rnn(packed)
        output, back = pad_packed_sequence(output, batch_first=self.batch_first, padding_value=self.padding_value)
        return self.head(output), output, back, back + 1, state


class TrimmedAndUsed(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 5, batch_first=True)
        self.head = nn.Linear(5, 2)

    def forward(self, input, lengths):
        output, _ = self.lstm(pack_padded_sequence(input, lengths, batch_first=True, enforce_sorted=False))
        output, back = pad_packed_sequence(output, batch_first=True)
        mask = (torch.arange(output.size(1)).unsqueeze(0) < back.unsqueeze(1)).unsqueeze(-1)
        mean = (output * mask).sum(1) / back.unsqueeze(1)
        largest = output.masked_fill(~mask, -1e9).max(1).values
        last = output.gather(1, (back - 1).view(-1, 1, 1).expand(-1, 1, output.size(2))).squeeze(1)
        picked = output[torch.arange(output.size(0)), back - 1]
        return self.head(mean), largest, last, picked, output[:, -1], output.shape[1] * torch.ones(1)


class TotalLength(nn.Module):
    def __init__(self, total, padding_value=0.0):
        super().__init__()
        self.rnn = nn.RNN(3, 5, batch_first=True)
        self.total, self.padding_value = total, padding_value

    def forward(self, input, lengths):
        packed = pack_padded_sequence(input, lengths, batch_first=True, enforce_sorted=False)
        total = self.total(input) if callable(self.total) else self.total
        return pad_packed_sequence(
            self.rnn(packed)[0], batch_first=True, padding_value=self.padding_value, total_length=total
        )


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


class OnlyPacking(nn.Module):
    def forward(self, input, lengths):
        packed = pack_padded_sequence(input, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(packed, batch_first=True, padding_value=-1.0)


class HeldElsewhere(nn.Module):
    """The packing functions in a closure, a default argument, a partial and a class attribute."""

    pad = staticmethod(packing.pad_packed_sequence)

    def __init__(self):
        super().__init__()
        self.rnn = nn.RNN(3, 4, batch_first=True)
        self.other = nn.RNN(3, 4, batch_first=True)
        self.pack = functools.partial(pack_padded_sequence, batch_first=True, enforce_sorted=False)
        inner = packing.pack_padded_sequence
        self.closure = lambda x, lengths: inner(x, lengths, True, False)

    def forward(self, input, lengths, pad=pad_packed_sequence):
        one, _ = pad(self.rnn(self.pack(input, lengths))[0], batch_first=True)
        other, _ = self.pad(self.other(self.closure(input, lengths))[0], batch_first=True)
        return one, other


class Subclass(nn.LSTM):
    """Overrides forward and calls the class above it."""

    def forward(self, input, hx=None):
        if isinstance(input, nn.utils.rnn.PackedSequence):
            return super().forward(input, hx)
        output, (h_n, c_n) = super().forward(input * 2, hx)
        return output + 1, (h_n, c_n - 1)


class Subclassed(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = Subclass(3, 4, batch_first=True)
        self.original = nn.LSTM.forward

    def forward(self, input, lengths):
        packed = pack_padded_sequence(input, lengths, batch_first=True, enforce_sorted=False)
        return self.lstm(input), self.lstm(packed)[1], self.original(self.lstm, input)


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


class ZeroStates(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 4, 2, batch_first=True)

    def forward(self, input):
        h_0 = torch.zeros(2, input.size(0), 4, device=input.device)
        c_0 = input.new_zeros(2, input.size(0), 4).requires_grad_()
        return self.lstm(input, (h_0, c_0.detach()))


class WrittenState(nn.Module):
    """Zeros at first, but not any more when the recurrent layer reads them."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(3, 4, batch_first=True)

    def forward(self, input):
        h_0 = torch.zeros(1, input.size(0), 4)
        h_0[:, :, 1] = 0.5
        h_0[0] += input[:, 0, :1]
        return self.gru(input, h_0)


class Convolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv1d(3, 6, 3, padding=1)
        self.batch_norm = nn.BatchNorm1d(6)
        self.gru = nn.GRU(6, 5, batch_first=True, dropout=0.3, num_layers=2)
        self.dropout = nn.Dropout(0.5)

    def forward(self, input):
        x = torch.relu(self.batch_norm(self.convolution(input.transpose(1, 2)))).transpose(1, 2)
        output, h_n = self.gru(x)
        return self.dropout(output), h_n[-1], output.mean(1), output[:, -1, :]


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 6, padding_idx=0)
        self.lstm = nn.LSTM(6, 5, bidirectional=True)
        self.head = nn.Linear(10, 3)

    def forward(self, tokens):
        lengths = (tokens != 0).sum(1)
        packed = pack_padded_sequence(self.embedding(tokens.t()), lengths, enforce_sorted=False)
        _, (h_n, _) = self.lstm(packed)
        return torch.log_softmax(self.head(torch.cat([h_n[0], h_n[1]], dim=1)), dim=1)


class Functional(nn.Module):
    """Weights of its own, made in the forward, and PyTorch's functions called by hand."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 4, 2, batch_first=True)
        self.gru = nn.GRU(3, 4)
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, input):
        zeros = torch.zeros(2, input.size(0), 4)
        weights = [weight * self.scale for weight in self.lstm._flat_weights]
        one = torch._VF.lstm(input, (zeros, zeros), weights, True, 2, 0.0, False, False, True)
        other = torch.gru(
            input.transpose(0, 1), zeros[:1], self.gru._flat_weights, True, 1, 0.0, self.training, False, False
        )
        return one, other


class WeightsFromTheInput(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.RNN(3, 4, batch_first=True)

    def forward(self, input, scale):
        weights = [weight * scale for weight in self.rnn._flat_weights]
        return torch.rnn_tanh(input, torch.zeros(1, input.size(0), 4), weights, True, 1, 0.0, False, False, True)


class LooksBack(nn.Module):
    """Leaves something to be looked at, and takes the first 100 steps at most."""

    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(3, 4, batch_first=True)
        self.seen = None

    def forward(self, input):
        output, self.seen = self.gru(input[:, : min(input.shape[1], 12)])
        return output


class TwoCells(nn.Module):
    """Cells called a fixed number of times are not a loop over the sequence."""

    def __init__(self):
        super().__init__()
        self.cell = nn.LSTMCell(3, 4)
        self.gru = nn.GRU(3, 4, batch_first=True)

    def forward(self, input):
        state = self.cell(input[:, 0])
        for _ in range(2):
            state = self.cell(input[:, -1], state)
        return self.gru(input, state[0].unsqueeze(0))


class SideBySide(nn.Module):
    """Several modules on the same input: one export for all, and no two may get in each other's way."""

    def __init__(self, modules):
        super().__init__()
        self.members = nn.ModuleList(modules)

    def forward(self, *inputs):
        return [module(*inputs) for module in self.members]


RAGGED = {
    "around": [
        (EncoderDecoder, 4),
        (Attention, 1),
        (Repacked, 3),
        (OnlyPacking, 0),
        (HeldElsewhere, 2),
        (Subclassed, 3),
    ],
    "trimmed": [
        (Trimmed, 1),
        (lambda: Trimmed(batch_first=False), 1),
        (lambda: Trimmed(padding_value=7.0), 1),
        (TrimmedAndUsed, 1),
    ],
    "total_length": [
        (lambda: TotalLength(lambda x: x.size(1)), 1),
        (lambda: TotalLength(lambda x: x.size(1), -2.0), 1),
        (lambda: TotalLength(20), 1),
        (lambda: TotalLength(20, 0.5), 1),
        (lambda: TotalLength(lambda x: 2 * x.size(1) + 1), 1),
    ],
}
PLAIN = {
    "twice, functional, cells": [(Twice, 2), (Functional, 3), (TwoCells, 1), (LooksBack, 1)],
    "states": [(LearnedState, 6), (ZeroStates, 2), (WrittenState, 1)],
    "layers as they are": [
        (Convolution, 2),
        (lambda: nn.LSTM(3, 4, batch_first=True, bidirectional=True), 1),
        (lambda: nn.GRU(3, 4, batch_first=True).requires_grad_(False), 1),
    ],
}
