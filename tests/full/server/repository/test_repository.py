"""Which versions serve, and the exact words about those that do not."""

import pytest

from kit.fake_trials import FakeTrials, serve_newest
from kit.loaded import load_repository
from rnnserve.server.repository.pins import dump_pins, read_pins
from rnnserve.server.repository.repository import LOADING, Repository, Status


@pytest.fixture
def root(tmp_path, fake_loading):
    """Models "a" (versions 1, 2, 10) and "b" (version 1), and the trials that they go through."""
    for folder in ("a/1", "a/2", "a/10", "a/latest", "b/1", ".hidden/1"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "a" / "3").touch()
    return tmp_path, fake_loading


def loaded(root) -> Repository:
    folder, trials = root
    return load_repository(folder, trials=trials)


def statuses(models: Repository) -> dict[str, dict[int, Status]]:
    return {name: dict(of_versions) for name, of_versions in models.statuses()}


def test_pins_make_another_repository_serve_the_same(root, monkeypatch):
    """Whatever is published, changed in the configs, or mended meanwhile."""
    folder, trials = root
    trials.refuse("a/10", "b/1")
    first = loaded(root)
    pins = read_pins(dump_pins(first.pins()))
    assert pins == first.pins()
    (folder / "a" / "11").mkdir()
    (folder / "c" / "1").mkdir(parents=True)
    serve_newest(monkeypatch, wanted=3, not_chosen=(2,))
    trials = FakeTrials()
    assert statuses(Repository(folder, pins))["a"][2] == Status(LOADING)
    second = load_repository(folder, trials=trials, pins=pins)
    assert statuses(second) == statuses(first)
    assert second.versions("a") == ["2"]
    assert second.pins() == pins
    assert dump_pins(second.pins()) == dump_pins(pins)
