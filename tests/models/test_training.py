import numpy as np
import pytest
import torch

from rnnserve.models import (
    ARCHITECTURES,
    LABELS,
    Accuracies,
    Architecture,
    ArchitectureError,
    DirectionClassifier,
    Schedule,
    TrainingError,
    evaluate,
    generate_sequences,
    generate_walks,
    pad,
    save_checkpoint,
    train,
)
from rnnserve.models.checkpoint import DESCRIPTION, WEIGHTS

SHORT = Schedule(walks=256, epochs=1)

every_model = pytest.mark.parametrize("name", list(ARCHITECTURES))


def accuracy(classifier, points, directions):
    input, lengths = pad(points)
    with torch.no_grad():
        logits = classifier(torch.from_numpy(input), torch.from_numpy(lengths))[0]
    return float((logits.argmax(1).numpy() == directions).mean())


@every_model
def test_held_out_accuracies(trained, name):
    classifier, report = trained[name]
    assert classifier.architecture == ARCHITECTURES[name]
    assert not classifier.training
    assert report.accuracies.tutorial_fixed == 1.0
    assert report.accuracies.tutorial_variable == 1.0
    assert report.accuracies.walks >= 0.995
    assert report.accuracies.prefixes >= 0.995


@every_model
def test_sequences_that_the_report_has_not_seen(trained, name):
    classifier = trained[name].classifier
    for variable_len in (False, True):
        assert accuracy(classifier, *generate_sequences(1000, variable_len, seed=2024)) == 1.0
    assert accuracy(classifier, *generate_walks(2000, seed=2024)) >= 0.995
    assert accuracy(classifier, *generate_walks(300, max_length=300, seed=2024)) >= 0.995
    for size in (0.5, 2.0):
        assert accuracy(classifier, *generate_walks(300, size=size, seed=2024)) >= 0.99


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


@every_model
def test_logits_stay_where_float32_is_fine(trained, name):
    assert 2 < trained[name].report.largest_logit < 6


def test_one_seed_gives_the_same_bytes_whatever_torch_is_set_to(checkpoints, tmp_path):
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    generator = torch.get_rng_state()
    torch.set_num_threads(2)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            classifier, report = train("direction_simple", seed=13, progress=False)
            assert not torch.is_grad_enabled()
        assert (torch.get_num_threads(), torch.get_default_dtype()) == (2, torch.float64)
    finally:
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
    assert torch.equal(torch.get_rng_state(), generator)
    save_checkpoint(tmp_path / "again", classifier, name="direction_simple", labels=LABELS, report=report)
    for name in (WEIGHTS, DESCRIPTION):
        assert (tmp_path / "again" / name).read_bytes() == (checkpoints / "direction_simple" / name).read_bytes()


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


def test_the_evaluation_tells_bad_from_good(trained):
    classifier = trained["direction_simple"].classifier
    turned = DirectionClassifier()
    turned.load_state_dict(classifier.state_dict())
    with torch.no_grad():
        turned.head.weight.neg_()
        turned.head.bias.neg_()
    good, bad = evaluate(classifier).accuracies, evaluate(turned.eval()).accuracies
    assert good.missed() == []
    assert max(bad) < 0.01
    assert len(bad.missed()) == 4


def test_a_target_just_missed_is_missed():
    assert Accuracies(0.9999, 1.0, 0.995, float("nan")).missed() == [
        "tutorial_fixed 0.9999 (target 1.0)",
        "prefixes nan (target 0.995)",
    ]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": "simple"}, ArchitectureError, "no model 'simple'"),
        ({"model": Architecture(features=3)}, TrainingError, "2 features .* and 2 classes .* has 3 and 2"),
        ({"model": Architecture(classes=5)}, TrainingError, "has 2 and 5"),
        ({"model": "direction_simple", "seed": -1}, TrainingError, "seed is -1, expected 0 to 4294967295"),
        ({"model": "direction_simple", "seed": 2**32}, TrainingError, "seed is 4294967296"),
    ],
)
def test_mistakes(arguments, error, message):
    with pytest.raises(error, match=message):
        train(**arguments)
