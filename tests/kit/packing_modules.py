"""A module that packs its input, and does with the packed sequence what a function says; refusals of such modules."""

import re

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnnserve.export import UnsupportedModule, export_onnx

__all__ = ["Packs", "Refusals", "of", "pad", "refusal_of"]

AXES = ({0: "batch", 1: "sequence"}, {0: "batch"})
SAMPLE = (torch.randn(3, 4, 3), torch.tensor([4, 2, 1]))


class Packs(nn.Module):
    def __init__(self, way, enforce_sorted=False):
        super().__init__()
        self.way, self.enforce_sorted = way, enforce_sorted
        self.rnn, self.lstm = nn.GRU(3, 4), nn.LSTM(4, 4, bidirectional=True)
        self.linear, self.gate, self.head = nn.Linear(3, 3), nn.Linear(3, 4), nn.Linear(4, 5)
        self.embedding, self.norm, self.layer = nn.Embedding(7, 3), nn.BatchNorm1d(3), nn.LayerNorm(4)
        self.convolution, self.prelu, self.dropout = nn.Conv1d(1, 2, 2), nn.PReLU(3), nn.Dropout(0.5)
        with torch.no_grad():
            self.norm.running_mean.uniform_()
            self.norm.running_var.uniform_(0.5, 2.0)

    def forward(self, x, lengths):
        return self.way(self, x, lengths)

    def pack(self, x, lengths):
        return pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=self.enforce_sorted)


def pad(packed, **options):
    """Give the padded values."""
    return pad_packed_sequence(packed, batch_first=True, **options)[0]


def of(packed, data):
    """Give a sequence of other values that is packed likewise."""
    return PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)


class Refusals(dict):
    """Functions that are refused, each with the message, by their names."""

    def __call__(self, message):
        """Add the function that is decorated."""

        def add(way):
            self[way.__name__] = way, message
            return way

        return add

    def check(self, name):
        """Export the module with a function of this name, and compare the message."""
        forward, message = self[name]
        told = refusal_of(forward)
        assert re.search(message, told, re.DOTALL), told


def refusal_of(forward):
    """Give the message with which a module is refused."""
    with pytest.raises(UnsupportedModule) as raised:
        export_onnx(Packs(forward).eval(), SAMPLE, input_names=["x", "n"], output_names=["y"], dynamic_shapes=AXES)
    assert "\n" not in str(raised.value)
    return str(raised.value)
