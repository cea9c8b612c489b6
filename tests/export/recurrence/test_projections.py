"""LSTM with proj_size, against eager at sizes unlike the sample: layers, directions, layout, states, bias, packing."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnserve.export.recurrence.projections import projected_lstm

FEATURES, HIDDEN, PROJECTION = 3, 6, 2
# A quarter of layers, directions, batch-first, initial states and bias, in which every pair occurs.
FORMS = [
    (layers, both, first, (layers == 2) != both, (layers == 2) != first)
    for layers, both, first in itertools.product((1, 2), (False, True), (False, True))
]
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")


class Projected(nn.Module):
    def __init__(self, packed):
        super().__init__()
        self.packed = packed
        self.members = nn.ModuleList(
            nn.LSTM(FEATURES, HIDDEN, layers, bidirectional=both, batch_first=first, bias=bias, proj_size=PROJECTION)
            for layers, both, first, _, bias in FORMS
        )

    def forward(self, input, lengths, h_0, c_0):
        results = []
        for lstm, (layers, both, first, with_states, _) in zip(self.members, FORMS, strict=True):
            x = input if first else input.transpose(0, 1)
            rows = layers * (1 + both)
            if self.packed:
                x = pack_padded_sequence(x, lengths, batch_first=first, enforce_sorted=False)
            output, final = lstm(x, (h_0[:rows], c_0[:rows]) if with_states else None)
            if self.packed:
                output, _ = pad_packed_sequence(output, batch_first=first, total_length=input.shape[1])
            results.append((output, final))
        return results


def arguments(rows):
    states = [torch.randn(4, len(rows), size) for size in (PROJECTION, HIDDEN)]
    return torch.randn(len(rows), max(rows), FEATURES), torch.tensor(rows), *states


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
def test_every_form_equals_eager_at_other_sizes(exported, packed):
    torch.manual_seed(10)
    module = Projected(packed)
    batch = {1: "batch"}
    result = exported(module, arguments([2, 5, 3]), ({0: "batch", 1: "sequence"}, {0: "batch"}, batch, batch))
    for rows in ([1], [4], [1, 1, 1], [7, 2, 19, 19, 1, 8, 3], [2, 3]):
        result.agrees(*arguments(rows), limit=4 * torch.finfo(torch.float32).eps * max(rows))
    assert result.operators.count("Scan") == sum(layers * (1 + both) for layers, both, *_ in FORMS)
    assert all("batch" in axes for axes in result.axes("outputs"))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_in_eager_it_is_pytorch_layer(bidirectional):
    torch.manual_seed(11)
    lstm = nn.LSTM(FEATURES, HIDDEN, bidirectional=bidirectional, proj_size=PROJECTION).double()
    input, lengths = torch.randn(5, 3, FEATURES).double(), torch.tensor([2, 5, 3])
    output, h_n, c_n = projected_lstm(input, lengths, None, None, lstm._flat_weights, bidirectional)
    packed, (h_n_expected, c_n_expected) = lstm(pack_padded_sequence(input, lengths, enforce_sorted=False))
    torch.testing.assert_close(output, pad_packed_sequence(packed)[0])
    torch.testing.assert_close(h_n, h_n_expected)
    torch.testing.assert_close(c_n, c_n_expected)


class ByHand(nn.Module):
    """torch.lstm with the weights of a module with projections."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(FEATURES, HIDDEN, 2, proj_size=PROJECTION)

    def forward(self, input):
        h_0, c_0 = (torch.zeros(2, input.size(0), size) for size in (PROJECTION, HIDDEN))
        weights = self.lstm._flat_weights
        return torch.lstm(input, (h_0, c_0), weights, True, 2, 0.0, self.training, False, True)


def test_the_function(plain):
    assert plain(ByHand()).operators.count("Scan") == 2
