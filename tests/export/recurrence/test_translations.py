"""Weights that depend on the module's inputs are computed in every run, by no more nodes than it takes."""

from collections import Counter

import pytest
import torch
from torch import nn


class Scaled(nn.Module):
    """Calls a function of torch with weights that it multiplies by an input."""

    def __init__(self, function, layer):
        super().__init__()
        self.function, self.layer = function, layer

    def forward(self, x, scale):
        weights = [getattr(self.layer, name) * scale for name in self.layer._flat_weights_names]
        state = x.new_zeros(1 + self.layer.bidirectional, x.size(0), 4)
        return self.function(x, state, weights, True, 1, 0.0, False, self.layer.bidirectional, True)


@pytest.mark.parametrize(
    ("function", "make", "nodes"),
    [
        (torch.rnn_tanh, nn.RNN, {"Concat": 1}),  # of the two biases
        (torch.gru, nn.GRU, {"Concat": 1, "Gather": 4}),
        (torch.gru, lambda *sizes: nn.GRU(*sizes, bidirectional=True), {"Concat": 2 + 3, "Gather": 8}),
    ],
)
def test_computed_weights(exported, function, make, nodes):
    torch.manual_seed(1)
    module = Scaled(function, make(3, 4))
    result = exported(module, (torch.randn(2, 3, 3), torch.ones(1)), ({0: "batch", 1: "sequence"}, None))
    result.agrees(torch.randn(4, 6, 3), torch.full((1,), 0.5))
    found = Counter(result.operators)
    assert {operator: found[operator] for operator in nodes} == nodes
    assert result.layers == 1
    assert "Gather" in nodes or found["Gather"] == 0
