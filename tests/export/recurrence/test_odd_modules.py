"""Modules as others write them, exported and compared with eager at other sizes."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from kit.odd_modules import PLAIN, RAGGED, SideBySide, Trimmed, WeightsFromTheInput, Words, ZeroStates


@pytest.mark.parametrize("group", RAGGED)
def test_modules_with_lengths_equal_eager(ragged, group):
    torch.manual_seed(1)
    makes, layers = zip(*RAGGED[group], strict=True)  # type: ignore[misc]
    result = ragged(SideBySide([make() for make in makes]), beyond=30)
    assert result.layers == sum(layers)
    assert result.axes("inputs") == [["batch", "sequence", 3], ["batch"]]


@pytest.mark.parametrize("group", PLAIN)
def test_modules_without_lengths_equal_eager(plain, group):
    torch.manual_seed(2)
    makes, layers = zip(*PLAIN[group], strict=True)  # type: ignore[misc]
    assert plain(SideBySide([make() for make in makes])).layers == sum(layers)


@pytest.mark.parametrize("make", [lambda: nn.LSTM(3, 4, batch_first=True), lambda: nn.Sequential(nn.Linear(3, 5))])
def test_the_layer_itself_and_nothing_recurrent(plain, make):
    module = make()
    assert plain(module).layers == isinstance(module, nn.LSTM)


def test_lengths_of_int32(ragged):
    ragged(Trimmed(), dtype=torch.int32, lengths=([2, 5, 1], [1]))


def test_words(exported):
    result = exported(Words(), (torch.tensor([[1, 2, 0], [3, 4, 5]]),), ({0: "batch", 1: "sequence"},))
    for tokens in ([[1]], [[4, 5, 6, 0, 0], [1, 0, 0, 0, 0], [1, 2, 3, 4, 5]]):
        result.agrees(torch.tensor(tokens))


def test_weights_that_come_from_the_input(exported):
    result = exported(
        WeightsFromTheInput(), (torch.randn(2, 3, 3), torch.tensor(2.0)), ({0: "batch", 1: "sequence"}, None)
    )
    result.agrees(torch.randn(5, 9, 3), torch.tensor(-0.7))
    assert result.layers == 1


def test_zero_states_cost_no_node(plain):
    assert plain(ZeroStates()).operators == plain(nn.LSTM(3, 4, 2, batch_first=True)).operators


def test_sorted_rows_keep_working_where_eager_enforces_them(exported):
    class Sorted(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.RNN(3, 4, batch_first=True)

        def forward(self, input, lengths):
            output, h_n = self.rnn(pack_padded_sequence(input, lengths, batch_first=True))
            return pad_packed_sequence(output, batch_first=True)[0], h_n

    result = exported(
        Sorted(), (torch.randn(2, 3, 3), torch.tensor([3, 1])), ({0: "batch", 1: "sequence"}, {0: "batch"})
    )
    result.agrees(torch.randn(4, 9, 3), torch.tensor([9, 9, 2, 1]))


@pytest.mark.parametrize(
    "normalise",
    [
        lambda rnn: nn.utils.parametrizations.weight_norm(rnn, "weight_hh_l0"),
        lambda rnn: nn.utils.parametrizations.spectral_norm(rnn, "weight_ih_l0"),
    ],
    ids=["weight norm", "spectral norm"],
)
def test_parametrised_weights(plain, normalise):
    module = nn.Sequential(normalise(nn.GRU(3, 4, batch_first=True)))
    result = plain(module)
    assert result.layers == 1
    assert set(result.operators) <= {"Transpose", "GRU", "Squeeze"}, "the weights are folded into the file"


def test_nested_arguments_and_none(exported):
    class Nested(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(3, 4, batch_first=True)

        def forward(self, inputs, mask=None, states=None):
            x = inputs["walk"] if mask is None else inputs["walk"] * mask
            return {"output": self.lstm(x, states)[0], "last": self.lstm(x, states)[1]}

    state = torch.randn(1, 2, 4)
    batch = {1: "batch"}
    result = exported(
        Nested(),
        ({"walk": torch.randn(2, 3, 3)}, None, (state, state)),
        ({"walk": {0: "batch", 1: "sequence"}}, None, (batch, batch)),
    )
    state = torch.randn(1, 5, 4)
    result.agrees({"walk": torch.randn(5, 8, 3)}, None, (state, state + 1))


@pytest.mark.parametrize("axes", [{}, {0: "batch"}, {1: "steps"}])
def test_any_choice_of_dynamic_axes(exported, axes):
    module = nn.Sequential(nn.RNN(3, 4, 2, batch_first=True, bidirectional=True))
    result = exported(module, (torch.randn(2, 5, 3),), (axes,))
    result.agrees(torch.randn(7 if 0 in axes else 2, 11 if 1 in axes else 5, 3))
    assert result.axes("inputs") == [[axes.get(0, 2), axes.get(1, 5), 3]]
    assert result.axes("outputs") == [[axes.get(0, 2), axes.get(1, 5), 8], [4, axes.get(0, 2), 4]]


@pytest.mark.parametrize("sample", [(1, 1), (1, 6), (4, 4)])
def test_sample_of_one_row_or_one_step(exported, sample):
    module = Trimmed().eval()
    lengths = torch.full((sample[0],), sample[1])
    result = exported(module, (torch.randn(*sample, 3), lengths), ({0: "batch", 1: "sequence"}, {0: "batch"}))
    result.agrees(torch.randn(1, 1, 3), torch.tensor([1]))
    result.agrees(torch.randn(5, 8, 3), torch.tensor([5, 1, 8, 2, 3]))
