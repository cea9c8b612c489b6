import numpy as np
import pytest
import torch

from rnnserve.models import (
    ARCHITECTURES,
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
def test_trained_model_meets_its_targets(trained, name):
    classifier, report = trained[name]
    assert classifier.architecture == ARCHITECTURES[name]
    assert not classifier.training
    assert report.accuracies.tutorial_fixed == 1.0
    assert report.accuracies.tutorial_variable == 1.0
    assert report.accuracies.walks >= 0.995
    assert report.accuracies.prefixes >= 0.995
    assert 2 < report.largest_logit < 6  # where float32 is fine


@pytest.mark.parametrize("name", ["direction_simple", "direction_stacked"])
def test_streamed_walk_is_classified_from_its_second_point_on(trained, name):
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
def test_invalid_training_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        train(**arguments)
