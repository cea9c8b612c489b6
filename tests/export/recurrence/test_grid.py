"""Every cell, depth, direction, layout, state and bias, packed and plain, against eager at sizes unlike the sample.

One export a cell and form: the module holds a share of the combinations side by side, which also shows that many
recurrent layers in one module keep apart.
"""

import itertools

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

CELLS = {
    "tanh": lambda *a, **k: nn.RNN(*a, nonlinearity="tanh", **k),
    "relu": lambda *a, **k: nn.RNN(*a, nonlinearity="relu", **k),
    "gru": nn.GRU,
    "lstm": nn.LSTM,
}
FEATURES, HIDDEN = 3, 4
COMBINATIONS = list(itertools.product((1, 2), (False, True), (False, True), (False, True), (False, True)))


def share(cell, packed):
    """A quarter of the combinations, another one for each neighbour; among four cells, all of them."""
    return [
        combination
        for combination in COMBINATIONS
        if sum(combination) % 2 == packed and sum(combination[::2]) % 2 == list(CELLS).index(cell) % 2
    ]


class Everything(nn.Module):
    """A share of the combinations of layers, directions, layout, initial states and bias of one cell."""

    def __init__(self, cell, packed):
        super().__init__()
        self.packed, self.share = packed, share(cell, packed)
        self.recurrent = nn.ModuleList(
            CELLS[cell](FEATURES, HIDDEN, layers, bidirectional=both, batch_first=first, bias=bias)  # type: ignore[operator]
            for layers, both, first, _, bias in self.share
        )

    def forward(self, input, lengths, states):
        results = []
        for module, (layers, both, first, with_states, _) in zip(self.recurrent, self.share, strict=True):
            x = input if first else input.transpose(0, 1)
            hx = None
            if with_states:
                rows = layers * (1 + both)
                hx = (states[:rows], states[1 : rows + 1]) if isinstance(module, nn.LSTM) else states[:rows]
            if self.packed:
                x = pack_padded_sequence(x, lengths, batch_first=first, enforce_sorted=False)
            output, final = module(x, hx)
            if self.packed:
                output, _ = pad_packed_sequence(output, batch_first=first, total_length=input.shape[1])
            results.append((output, final))
        return results


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize("cell", CELLS)
def test_every_combination_equals_eager_at_other_sizes(exported, cell, packed):
    torch.manual_seed(0)
    module = Everything(cell, packed)
    batch = {0: "batch"}
    result = exported(
        module,
        (torch.randn(3, 5, FEATURES), torch.tensor([2, 5, 3]), torch.randn(5, 3, HIDDEN)),
        ({0: "batch", 1: "sequence"}, batch, {1: "batch"}),
    )

    for rows, sequence in (([1], 1), ([4], 9), ([1, 1, 1], 1), ([7, 2, 19, 19, 1, 8, 3], 19), ([2, 3], 6)):
        arguments = (torch.randn(len(rows), sequence, FEATURES), torch.tensor(rows), torch.randn(5, len(rows), HIDDEN))
        result.agrees(*arguments)

    assert result.layers == sum(layers for layers, *_ in module.share)
    assert set(result.operators) & {"Loop", "Scan", "If"} == set()
    assert all("batch" in axes for axes in result.axes("outputs"))
