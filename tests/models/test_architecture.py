"""The architectures of the classifiers, and invalid ones."""

import pytest

from rnnserve.models import (
    ARCHITECTURES,
    LABELS,
    Architecture,
    ArchitectureError,
    DirectionClassifier,
)


def test_tutorials_three_models_are_available():
    assert dict(ARCHITECTURES) == {
        "direction_simple": Architecture("rnn", "tanh", 1, False, 2, 16, 2),
        "direction_stacked": Architecture("rnn", "tanh", 2, False, 2, 16, 2),
        "direction_bidirectional": Architecture("rnn", "tanh", 1, True, 2, 16, 2),
    }
    assert LABELS == ("counter-clockwise", "clockwise")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cell": "elman"}, "cell is 'elman', expected one of 'rnn', 'gru', 'lstm'"),
        ({"nonlinearity": "gelu"}, "nonlinearity is 'gelu', expected one of 'tanh', 'relu'"),
        ({"cell": "gru", "nonlinearity": "relu"}, "nonlinearity is 'relu', but a gru always uses its own"),
        ({"num_layers": 0}, "num_layers must be a positive integer, got 0"),
        ({"hidden": 2.5}, "hidden must be a positive integer, got 2.5"),
        ({"classes": True}, "classes must be a positive integer, got True"),
        ({"bidirectional": 1}, "bidirectional is 1, expected True or False"),
    ],
)
def test_invalid_architecture_is_refused(arguments, message):
    with pytest.raises(ArchitectureError, match=message):
        Architecture(**arguments)
    with pytest.raises(ArchitectureError, match=message):
        DirectionClassifier(**arguments)
