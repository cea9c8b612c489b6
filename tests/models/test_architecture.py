import pytest

from rnnserve.models import (
    ARCHITECTURES,
    LABELS,
    Architecture,
    ArchitectureError,
    DirectionClassifier,
    architecture_named,
)


def test_the_tutorial_s_three_models():
    assert dict(ARCHITECTURES) == {
        "direction_simple": Architecture("rnn", "tanh", 1, False, 2, 16, 2),
        "direction_stacked": Architecture("rnn", "tanh", 2, False, 2, 16, 2),
        "direction_bidirectional": Architecture("rnn", "tanh", 1, True, 2, 16, 2),
    }
    assert LABELS == ("counter-clockwise", "clockwise")


def test_states_count_layers_and_directions():
    assert Architecture(num_layers=3, bidirectional=True).states == 6
    assert Architecture(num_layers=3).directions == 1


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
def test_an_invalid_architecture_is_refused(arguments, message):
    with pytest.raises(ArchitectureError, match=message):
        Architecture(**arguments)
    with pytest.raises(ArchitectureError, match=message):
        DirectionClassifier(**arguments)


def test_an_unknown_name_lists_the_known():
    with pytest.raises(
        ArchitectureError, match="unknown model 'simple'; expected one of direction_simple, direction_st"
    ):
        architecture_named("simple")
