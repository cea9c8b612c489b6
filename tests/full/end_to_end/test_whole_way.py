"""The published classifiers again: verified, exported a second time, and asked for many walks with tritonclient."""

from rnnserve.cli import main
from rnnserve.models import ARCHITECTURES


def test_verify_repeats_parity_of_every_classifier(repository, capsys):
    assert main(["verify", str(repository)]) == 0
    said = capsys.readouterr().out
    assert [name for name in ARCHITECTURES if name not in said] == []


def test_second_export_publishes_nothing_new(checkpoints, repository, capsys):
    before = {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()}
    assert main(["export", "--checkpoints", str(checkpoints), "--repository", str(repository)]) == 0
    assert {path: path.read_bytes() for path in repository.rglob("*") if path.is_file()} == before
    assert "unchanged" in capsys.readouterr().out
