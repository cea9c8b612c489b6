"""torch.lstm and the others, called by a module's own code during a capture: results, and exact refusals."""

import pytest
import torch
from torch import nn

from rnnserve.export.errors import UnsupportedModule
from rnnserve.export.recurrence.recurrent_functions import RecurrentFunctionMode

X = torch.zeros(3, 4, 2)  # (batch, sequence, features)


def weights(module):
    return [parameter.detach() for parameter in module._flat_weights]


GRU, LSTM = nn.GRU(2, 5, 2), nn.LSTM(2, 5, 2)
H = torch.zeros(2, 3, 5)  # (layers * directions, batch, hidden)
REST = (True, 2, 0.0, False, False, True)  # has_biases, num_layers, dropout, train, bidirectional, batch_first


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: torch.gru(X, H, weights(GRU), True, 2, 0.5, True, False, True),
            "torch.gru, called by the module's own code, has dropout=0.5 that is on; call .eval() on the module before",
        ),
        (
            lambda: torch.gru(X, H, weights(GRU)[:7], *REST),
            "torch.gru, called by the module's own code, got 7 weights for 2 layers in 1 directions; expected",
        ),
        (
            lambda: torch.gru(X, H[:1], weights(GRU), *REST),
            "torch.gru, called by the module's own code, got h_0 (1, 3, 5); expected (layers * directions, batch, hid"
            "den) = (2, 3, 5)",
        ),
        (
            lambda: torch.lstm(X, (H, H[:, :1]), weights(LSTM), *REST),
            "torch.lstm, called by the module's own code, got c_0 (2, 1, 5); expected (layers * directions, batch, hid"
            "den) = (2, 3, 5)",
        ),
        (
            lambda: torch.gru(X, H, weights(GRU), *REST[:-1], False),
            "torch.gru, called by the module's own code, got h_0 (2, 3, 5); expected (layers * directions, batch, hid"
            "den) = (2, 4, 5)",
        ),
    ],
)
def test_what_is_refused(call, message):
    with RecurrentFunctionMode(), pytest.raises(UnsupportedModule) as refused:
        call()
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize("batch_first", [False, True])
def test_shapes_are_those_of_eager(batch_first):
    states = torch.zeros(2, 3 if batch_first else 4, 5, device="meta")
    arguments = (X.to("meta"), (states, states), weights(nn.LSTM(2, 5, 2, device="meta")), *REST[:-1], batch_first)
    eager = torch.lstm(*arguments)
    with torch.no_grad(), RecurrentFunctionMode():
        found = torch.lstm(*arguments)
    assert [tuple(tensor.shape) for tensor in found] == [tuple(tensor.shape) for tensor in eager]


def test_dropout_of_one_layer_is_never_applied():
    one = nn.GRU(2, 5, 1, device="meta")
    with torch.no_grad(), RecurrentFunctionMode():
        output, h_n = torch.gru(X.to("meta"), H[:1].to("meta"), weights(one), True, 1, 0.5, True, False, True)
    assert (output.shape, h_n.shape) == ((3, 4, 5), (1, 3, 5))
