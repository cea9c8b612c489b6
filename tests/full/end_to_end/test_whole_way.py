"""The published classifiers again: verified, exported a second time, and asked for many walks with tritonclient."""

import numpy as np
import pytest
import torch

from kit.served import served
from kit.triton_peer import classify_with_tritonclient
from rnnserve.cli import main
from rnnserve.models import ARCHITECTURES, generate_walks, load_checkpoint, pad


def test_verify_repeats_parity_of_every_classifier(repository, capsys):
    assert main(["verify", str(repository)]) == 0
    said = capsys.readouterr().out
    assert [name for name in ARCHITECTURES if name not in said] == []


def test_second_export_publishes_nothing_new(checkpoints, repository, capsys):
    before = {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}
    assert main(["export", "--checkpoints", str(checkpoints), "--repository", str(repository)]) == 0
    assert {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()} == before
    assert "unchanged" in capsys.readouterr().out


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_tritonclient_gets_the_results_of_eager_for_ten_thousand_walks(repository, checkpoints, name):
    walks, lengths = pad(generate_walks(10_000, min_length=2, max_length=64, seed=2026)[0])
    with served(repository, "process") as server:
        found = classify_with_tritonclient(server.port, name, walks, lengths)
    with torch.no_grad():
        classifier = load_checkpoint(checkpoints / name).classifier
        expected = classifier(torch.from_numpy(walks), torch.from_numpy(lengths))[0].numpy()
    assert np.abs(found - expected).max() <= 4e-6
    np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))
