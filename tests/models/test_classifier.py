import copy

import pytest
import torch
from torch import nn

from rnnserve.models import Architecture, DirectionClassifier

GRID = [
    Architecture(cell, nonlinearity, num_layers, bidirectional, features=3, hidden=5, classes=4)
    for cell, nonlinearity in (("rnn", "tanh"), ("rnn", "relu"), ("gru", "tanh"), ("lstm", "tanh"))
    for num_layers in (1, 2)
    for bidirectional in (False, True)
]

every_architecture = pytest.mark.parametrize(
    "architecture",
    GRID,
    ids=lambda a: f"{a.cell}-{a.nonlinearity}-{a.num_layers}-{'both' if a.bidirectional else 'one'}",
)


def make(architecture, batch=5, sequence=7):
    """A classifier, ragged input, and random states for it."""
    classifier = DirectionClassifier.of(architecture).eval().requires_grad_(False)
    input = torch.randn(batch, sequence, architecture.features)
    lengths = torch.tensor([3, sequence, 1, 5, 2])[:batch]
    states = [torch.randn(architecture.states, batch, architecture.hidden) for _ in range(count_states(architecture))]
    return classifier, input, lengths, states


def count_states(architecture):
    return 2 if architecture.cell == "lstm" else 1


def same(found, expected):
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@every_architecture
def test_results_are_logits_output_and_final_states(architecture):
    classifier = DirectionClassifier.of(architecture)
    for batch, sequence in ((1, 1), (1, 9), (6, 1), (3, 4)):
        result = classifier(torch.randn(batch, sequence, 3))
        states = [(architecture.states, batch, 5)] * count_states(architecture)
        assert [tuple(t.shape) for t in result] == [(batch, 4), (batch, sequence, architecture.directions * 5), *states]


@every_architecture
def test_it_computes_what_its_layers_compute_row_by_row(architecture):
    classifier, input, lengths, states = make(architecture)
    logits, output, *finals = classifier(input, lengths, *states)
    for row, length in enumerate(lengths.tolist()):
        own = [state[:, row : row + 1].contiguous() for state in states]
        expected, final = classifier.recurrence(input[row : row + 1, :length], tuple(own) if len(own) == 2 else own[0])
        torch.testing.assert_close(output[row : row + 1, :length], expected)
        assert not output[row, length:].any()
        for found, wanted in zip(finals, final if len(own) == 2 else [final], strict=True):
            torch.testing.assert_close(found[:, row : row + 1], wanted)
        h_n = finals[0][-architecture.directions :, row]  # (directions, hidden)
        torch.testing.assert_close(logits[row], classifier.head(torch.cat(list(h_n))))


@every_architecture
def test_lengths_and_states_left_out_are_full_and_zero(architecture):
    classifier, input, _, states = make(architecture)
    full = torch.full((5,), 7)
    zeros = [torch.zeros_like(state) for state in states]
    assert same(classifier(input), classifier(input, full, *zeros))
    assert same(classifier(input, lengths=full), classifier(input, h_0=zeros[0]))


@every_architecture
def test_padding_values_change_nothing(architecture):
    classifier, input, lengths, states = make(architecture)
    other = input.clone()
    for row, length in enumerate(lengths.tolist()):
        other[row, length:] = 1e30
    assert same(classifier(other, lengths, *states), classifier(input, lengths, *states))


@pytest.mark.parametrize("architecture", [a for a in GRID if not a.bidirectional], ids=str)
def test_a_sequence_in_two_parts_with_its_state_carried_over_is_the_whole(architecture):
    classifier, input, _, states = make(architecture, batch=4)
    whole = classifier(input, None, *states)
    for cut in (1, 3, 6):
        _, first, *carried = classifier(input[:, :cut], None, *states)
        logits, second, *finals = classifier(input[:, cut:], None, *carried)
        torch.testing.assert_close([logits, torch.cat([first, second], 1), *finals], list(whole))


@every_architecture
@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_its_script_equals_it_bit_for_bit(architecture):
    classifier, input, lengths, states = make(architecture)
    script = torch.jit.script(classifier)
    for arguments in ([input], [input, lengths], [input, None, *states], [input[:1, :1]], [input, lengths, *states]):
        assert same(script(*arguments), classifier(*arguments))


@every_architecture
def test_it_runs_in_float64(architecture):
    classifier, input, lengths, states = make(architecture)
    double = copy.deepcopy(classifier).double()
    single = classifier(input, lengths, *states)
    for arguments in ([], [state.double() for state in states]):
        assert all(t.dtype == torch.float64 for t in double(input.double(), lengths, *arguments))
    exact = double(input.double(), lengths, *(state.double() for state in states))
    torch.testing.assert_close(list(exact), [t.double() for t in single], rtol=1e-5, atol=1e-5)


def test_its_layers_are_the_architecture_s():
    assert isinstance(DirectionClassifier(cell="gru").recurrence, nn.GRU)
    assert isinstance(DirectionClassifier(cell="lstm").recurrence, nn.LSTM)
    assert DirectionClassifier(nonlinearity="relu").recurrence.nonlinearity == "relu"
    classifier = DirectionClassifier(7, 5, 3, num_layers=2, bidirectional=True)
    assert classifier.architecture == Architecture(features=7, hidden=5, classes=3, num_layers=2, bidirectional=True)
    assert classifier.head.weight.shape == (3, 10)
