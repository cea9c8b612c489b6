"""The classifier computes what its layers compute, for every kind of layer."""

import pytest
import torch

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
def test_results_equal_the_layers_row_by_row(architecture):
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
def test_omitted_lengths_are_full_and_omitted_states_are_zero(architecture):
    classifier, input, _, states = make(architecture)
    full = torch.full((5,), 7)
    zeros = [torch.zeros_like(state) for state in states]
    assert same(classifier(input), classifier(input, full, *zeros))
    assert same(classifier(input, lengths=full), classifier(input, h_0=zeros[0]))
