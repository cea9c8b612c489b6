"""float16 modules: computed in float32, rounded once. Against eager, and against the module in float32."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils import _pytree

from rnnserve.export import scan

AXES = {0: "batch", 1: "sequence"}


class Tagger(nn.Module):
    """A recurrent module and a head at each step; the head follows a transposition where it is batch-first."""

    def __init__(self, cell, layers, bidirectional, batch_first, packed, **options):
        super().__init__()
        self.rnn = cell(3, 8, layers, bidirectional=bidirectional, batch_first=batch_first, **options)
        self.packed, self.batch_first = packed, batch_first
        self.head = nn.Linear((self.rnn.proj_size or 8) * (1 + bidirectional), 2)

    def forward(self, input, lengths):
        x = input if self.batch_first else input.transpose(0, 1)
        if self.packed:
            x = pack_padded_sequence(x, lengths, batch_first=self.batch_first, enforce_sorted=False)
        output, final = self.rnn(x)
        if self.packed:
            output, _ = pad_packed_sequence(output, batch_first=self.batch_first, total_length=input.shape[1])
        return self.head(output), final


class Steps(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.norm = nn.LSTMCell(3, 8), nn.LayerNorm(8)

    def forward(self, input, _lengths):
        def step(state, x):
            h, c = self.cell(x, state)
            return (h, c), self.norm(h)

        zeros = input.new_zeros(input.size(0), 8)
        return scan(step, (zeros, zeros), input, dim=1)


class Members(nn.Module):
    def __init__(self, *members):
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, input, lengths):
        return [member(input, lengths) for member in self.members]


MODULES = {
    "rnn": lambda: Members(Tagger(nn.RNN, 1, False, True, False), Tagger(nn.RNN, 2, True, False, True)),
    "gru": lambda: Members(Tagger(nn.GRU, 2, False, True, True), Tagger(nn.GRU, 1, True, False, False)),
    "lstm": lambda: Members(Tagger(nn.LSTM, 1, True, True, True), Tagger(nn.LSTM, 2, False, False, False)),
    "projections, scan": lambda: Members(Tagger(nn.LSTM, 2, True, True, True, proj_size=3), Steps()),
}


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("name", MODULES)
def test_equals_the_module_in_float32_rounded(exported, name):
    torch.manual_seed(12)
    module = MODULES[name]().half()
    sample = (torch.randn(3, 4, 3).half(), torch.tensor([4, 2, 1]))
    result = exported(module, sample, (AXES, {0: "batch"}))
    wide = copy.deepcopy(module).float()
    for rows in ([1], [6], [2, 9, 9, 1, 5], [30, 1]):
        input, lengths = torch.randn(len(rows), max(rows), 3).half(), torch.tensor(rows)
        result.agrees(input, lengths, limit=4e-3)  # eager rounds in every step
        with torch.no_grad():
            expected = [leaf.numpy() for leaf in _pytree.tree_leaves(wide(input.float(), lengths))]
        for found, exact in zip(result.run(input, lengths), expected, strict=True):
            # Half a unit in the last place of float16, and what float32 rounds in another order.
            half_unit = 0.5 * np.spacing(np.abs(exact).astype(np.float16)).astype(np.float32)
            np.testing.assert_array_less(np.abs(found - exact), half_unit + 1e-5)


def test_what_the_module_rounds_stays_rounded(exported):
    class Rounds(nn.Module):
        def forward(self, input, narrow):
            rounded = (input * 70000).half()
            return rounded.float() / 2, rounded, narrow, narrow * narrow, torch.full_like(narrow, 0.1) + narrow[:, :1]

    arguments = (torch.tensor([[1.0, 0.1234567]]), torch.tensor([[2.5, 300.0]]).half())
    result = exported(Rounds(), arguments, (AXES, AXES))
    for expected, found in zip(result.module(*arguments), result.run(*arguments), strict=True):
        assert found.dtype == expected.numpy().dtype
        np.testing.assert_array_equal(found, expected.numpy())
    assert [value.name for value in result.proto.graph.output] == [f"output_{number}" for number in range(5)]


@pytest.mark.parametrize("dtype", [torch.int64, torch.float64, torch.bool, torch.float16])
def test_a_linear_layer_after_a_transposition_and_a_cast(exported, dtype):
    class Casts(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3, 2)

        def forward(self, input):
            turned = input.transpose(0, 1)
            return self.head(turned.float()), turned

    module = Casts()
    result = exported(module, (torch.ones(2, 4, 3).to(dtype),), (AXES,))
    result.agrees((torch.randn(5, 7, 3) * 3).to(dtype))
