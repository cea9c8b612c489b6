"""Classifiers on sequences that no report has seen, and training that repeats byte for byte."""

import pytest
import torch

from rnnserve.models import (
    ARCHITECTURES,
    LABELS,
    generate_sequences,
    generate_walks,
    load_checkpoint,
    pad,
    save_checkpoint,
    train,
)
from rnnserve.models.checkpoint import DESCRIPTION, WEIGHTS

every_model = pytest.mark.parametrize("name", list(ARCHITECTURES))


def accuracy(classifier, points, directions):
    input, lengths = pad(points)
    with torch.no_grad():
        logits = classifier(torch.from_numpy(input), torch.from_numpy(lengths))[0]
    return float((logits.argmax(1).numpy() == directions).mean())


@every_model
def test_classifiers_are_right_about_sequences_outside_the_report(checkpoints, name):
    classifier = load_checkpoint(checkpoints / name).classifier
    for variable_len in (False, True):
        assert accuracy(classifier, *generate_sequences(1000, variable_len, seed=2024)) == 1.0
    assert accuracy(classifier, *generate_walks(2000, seed=2024)) >= 0.995
    assert accuracy(classifier, *generate_walks(300, max_length=300, seed=2024)) >= 0.995
    for size in (0.5, 2.0):
        assert accuracy(classifier, *generate_walks(300, size=size, seed=2024)) >= 0.99


def test_training_repeats_byte_for_byte_with_any_torch_settings(checkpoints, tmp_path):
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
