import argparse

import pytest

from rnnserve.models import ARCHITECTURES, LABELS, ModelError, TrainingError, load_checkpoint
from rnnserve.models.commands import train as command


def run(*words):
    parser = argparse.ArgumentParser(prog="rnnserve train")
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(word) for word in words]))


@pytest.fixture
def trains_at_once(trained, monkeypatch):
    """Replace training, which takes some seconds for each model, by the models that are trained once for all tests."""
    seeds = []

    def train(name, *, seed):
        seeds.append(seed)
        return trained[name]

    monkeypatch.setattr("rnnserve.models.training.train", train)
    return seeds


@pytest.mark.usefixtures("trains_at_once")
def test_train_without_names_trains_all_models(tmp_path, capsys):
    assert run("--checkpoints", tmp_path) == 0
    assert {entry.name for entry in tmp_path.iterdir()} == set(ARCHITECTURES)
    for name in ARCHITECTURES:
        checkpoint = load_checkpoint(tmp_path / name)
        assert (checkpoint.name, checkpoint.labels) == (name, LABELS)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["model", *ARCHITECTURES]
    assert lines[1].split()[1:3] == ["100.00%", "100.00%"]
    assert all(str(tmp_path) in line for line in lines[1:])


def test_named_models_are_trained_once_in_order_with_the_seed(tmp_path, capsys, trains_at_once):
    names = ["direction_stacked", "direction_simple", "direction_stacked"]
    assert run(*names, "--checkpoints", tmp_path, "--seed", 5) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["direction_stacked", "direction_simple"]
    assert trains_at_once == [5, 5]


def test_unknown_name_is_refused_before_training(tmp_path, trains_at_once):
    with pytest.raises(ModelError, match="unknown model 'simple'; expected one of direction_simple"):
        run("direction_stacked", "simple", "--checkpoints", tmp_path)
    assert trains_at_once == []
    assert list(tmp_path.iterdir()) == []


def test_missed_targets_write_nothing(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise TrainingError("missed")

    monkeypatch.setattr("rnnserve.models.training.train", fail)
    with pytest.raises(TrainingError):
        run("--checkpoints", tmp_path / "checkpoints")
    assert list(tmp_path.iterdir()) == []
