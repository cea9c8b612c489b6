"""Which version is tried when, for how long, and what becomes of it."""

import threading
from typing import Any

import pytest

from kit.fake_trials import FakeTrials, load_fake
from rnnserve.server.repository import loader
from rnnserve.server.repository.loader import Loader
from rnnserve.server.repository.repository import LOADING, READY, UNAVAILABLE, Repository, Status
from rnnserve.server.repository.trial_process import TooSlow

NEWER = Status(UNAVAILABLE, "a newer version serves")
NEVER = 1e9


@pytest.fixture
def make(tmp_path, fake_loading):
    """Makes a loader of versions such as "a/1"."""

    def make(*versions: str, timeout: float = 60.0, **more: Any) -> tuple[Loader, Repository, FakeTrials]:
        for version in versions:
            (tmp_path / version).mkdir(parents=True)
        models = Repository(tmp_path)
        load = Loader(models, fake_loading, "cpu", allow_unproven=False, timeout=timeout, **more)
        return load, models, fake_loading

    return make


def statuses(models, name):
    return dict(models.statuses())[name]


def test_versions_are_tried_newest_first_and_no_more_than_are_needed(make):
    load, models, trials = make("a/1", "a/2", "b/1", "c/1", "c/2", "c/3")
    trials.refuse("c/3")
    load.load()
    assert [version for version, _ in trials.begun] == ["a/2", "b/1", "c/3", "c/2"]
    assert statuses(models, "a") == {1: NEWER, 2: Status(READY)}
    assert statuses(models, "c")[1] == NEWER
    assert trials.is_closed
    assert models.is_ready()


def test_what_takes_long_is_tried_again_after_all_others_with_four_times_as_long(make):
    load, models, trials = make("a/1", "b/1", "c/1")
    trials.give("a/1", NEVER)
    trials.give("b/1", 3.0)
    load.load()
    assert trials.begun == [
        ("a/1", 0.5),
        ("b/1", 0.5),
        ("c/1", 0.5),
        ("a/1", 2),
        ("b/1", 2),
        ("a/1", 8),
        ("b/1", 8),
        ("a/1", 60),
    ]
    assert statuses(models, "a")[1] == Status(UNAVAILABLE, "did not load within 60 s (--load-timeout)")
    assert models.is_served("b")


def test_while_the_newest_takes_long_the_one_before_serves_and_then_gives_way(make):
    load, models, trials = make("a/1", "a/2", "b/1")
    trials.give("a/2", 3.0)
    load.load()
    assert [version for version, _ in trials.begun] == ["a/2", "a/1", "b/1", "a/2"]
    assert statuses(models, "a") == {1: NEWER, 2: Status(READY)}
    assert models.versions("a") == ["2"]
    assert models.generation == 4  # a/1, b/1, a/2, and a/1 no more


@pytest.mark.parametrize("error", [MemoryError(), ZeroDivisionError("in /home/x/y.py:3\nmore"), KeyError("x")])
def test_whatever_loading_raises_the_version_before_serves(make, monkeypatch, caplog, error):
    load, models, _ = make("a/1", "a/2")

    def load_model(folder, name, version, *args, **more):
        if version == "2":
            raise error
        return load_fake(folder, name, version, *args, **more)

    monkeypatch.setattr(loader, "load_model", load_model)
    load.load()
    assert models.versions("a") == ["1"]
    reason = statuses(models, "a")[2].reason
    assert reason.startswith(f"cannot be loaded: {type(error).__name__}:")
    assert "\n" not in reason
    assert "/home" not in reason
    assert f"a version 2 stays out: {reason}" in caplog.text
    assert "Traceback" not in caplog.text


class Waiting(FakeTrials):
    """Trials of "b" take until `go` is set, but for the first ones, as many as `short`, which are too short."""

    def __init__(self, short: int):
        super().__init__()
        self.go = threading.Event()
        self._short = short

    def outcome(self, version, seconds, *, is_small):
        if version.startswith("b/"):
            if self._short:
                self._short -= 1
                raise TooSlow
            assert self.go.wait(30)
        return super().outcome(version, seconds, is_small=is_small)


def waiting(tmp_path, *versions, lost_seconds, short=0, bad=()):
    for version in versions:
        (tmp_path / version).mkdir(parents=True)
    models, trials = Repository(tmp_path), Waiting(short)
    trials.refuse(*bad)
    load = Loader(models, trials, "cpu", allow_unproven=False, timeout=60.0, lost_seconds=lost_seconds)
    thread = threading.Thread(target=load.load)
    thread.start()
    return load, models, trials, thread


@pytest.mark.usefixtures("fake_loading")
def test_what_serves_does_not_wait_for_what_takes_long(tmp_path):
    load, models, trials, thread = waiting(tmp_path, "a/1", "b/1", "c/1", lost_seconds=0.2, short=1)
    load.wait()
    assert (statuses(models, "a"), statuses(models, "b")) == ({1: Status(READY)}, {1: Status(LOADING)})
    assert not models.is_ready()
    trials.go.set()
    thread.join(30)
    assert models.is_ready()


def test_the_graph_that_is_asked_for_is_told_where_a_version_is_tried(tmp_path, fake_loading):
    (tmp_path / "a/1").mkdir(parents=True)
    for graph in ("auto", "scan"):
        Loader(Repository(tmp_path), fake_loading, "cpu", allow_unproven=False, timeout=60.0, graph=graph).load()
    assert fake_loading.graphs == ["auto", "scan"]
