import numpy as np
import pytest
import torch

from rnnserve.models import (
    ARCHITECTURES,
    Accuracies,
    Architecture,
    ArchitectureError,
    Schedule,
    TrainingError,
    generate_walks,
    pad,
    train,
)

SHORT = Schedule(walks=256, epochs=1)

every_model = pytest.mark.parametrize("name", list(ARCHITECTURES))


@every_model
def test_held_out_accuracies(trained, name):
    classifier, report = trained[name]
    assert classifier.architecture == ARCHITECTURES[name]
    assert not classifier.training
    assert report.accuracies.tutorial_fixed == 1.0
    assert report.accuracies.tutorial_variable == 1.0
    assert report.accuracies.walks >= 0.995
    assert report.accuracies.prefixes >= 0.995
    assert 2 < report.largest_logit < 6  # where float32 is fine


@pytest.mark.parametrize("name", ["direction_simple", "direction_stacked"])
def test_a_streamed_walk_is_told_right_from_its_second_point_on(trained, name):
    classifier = trained[name].classifier
    points, directions = generate_walks(200, min_length=64, seed=7)
    input, _ = pad(points)
    h, right = None, []
    with torch.no_grad():
        for point in torch.from_numpy(input).unbind(1):  # (batch, features)
            logits, _, h = classifier(point[:, None], h_0=h)
            right.append((logits.argmax(1).numpy() == directions).mean())
    assert min(right[1:]) >= 0.99
    assert np.mean(right[1:]) >= 0.995


def test_missed_targets_are_an_error_and_settings_are_restored():
    threads, generator = torch.get_num_threads(), torch.get_rng_state()
    with pytest.raises(TrainingError, match=r"direction_simple missed its targets with seed 3: .*walks 0\.\d+"):
        train("direction_simple", seed=3, schedule=SHORT, progress=False)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), generator)


def test_the_progress_bar_goes_to_standard_error(capfd):
    with pytest.raises(TrainingError):
        train("direction_simple", schedule=SHORT)
    out, err = capfd.readouterr()
    assert out == ""
    assert "direction_simple" in err
    assert "2/2" in err


def test_a_target_just_missed_is_missed():
    assert Accuracies(0.9999, 1.0, 0.995, float("nan")).missed() == [
        "tutorial_fixed 0.9999 (target 1.0)",
        "prefixes nan (target 0.995)",
    ]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": "simple"}, ArchitectureError, "unknown model 'simple'"),
        ({"model": Architecture(features=3)}, TrainingError, "2 features .* and 2 classes .* has 3 and 2"),
        ({"model": Architecture(classes=5)}, TrainingError, "has 2 and 5"),
        ({"model": "direction_simple", "seed": -1}, TrainingError, "seed is -1, expected 0 to 4294967295"),
        ({"model": "direction_simple", "seed": 2**32}, TrainingError, "seed is 4294967296"),
    ],
)
def test_mistakes(arguments, error, message):
    with pytest.raises(error, match=message):
        train(**arguments)
