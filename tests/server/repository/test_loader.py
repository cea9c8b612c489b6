"""Which version is tried when, for how long, and what becomes of it."""

import threading
from typing import Any

import pytest

from kit.fake_trials import FakeTrials, load_fake
from rnnserve.server.errors import StartError
from rnnserve.server.repository import loader
from rnnserve.server.repository.loader import Loader
from rnnserve.server.repository.repository import LOADING, READY, UNAVAILABLE, Repository, Status
from rnnserve.server.repository.trial_process import TooSlow

NEWER = Status(UNAVAILABLE, "a newer version serves")


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
    assert trials.begun == ["a/2", "b/1", "c/3", "c/2"]
    assert statuses(models, "a") == {1: NEWER, 2: Status(READY)}
    assert statuses(models, "c")[1] == NEWER
    assert trials.is_closed
    assert models.is_ready()


def test_slow_versions_are_checked_again_after_all_others(make):
    load, models, trials = make("a/1", "a/2", "b/1", "c/1")
    trials.give("a/2", TooSlow())
    trials.give("b/1", TooSlow(), None)
    load.load()
    assert trials.begun == ["a/2", "b/1", "c/1", "a/1", "a/2", "b/1"]
    assert trials.seconds == [1.0, 1.0, 1.0, 1.0, 60.0, 60.0]
    assert statuses(models, "a") == {
        1: Status(READY),
        2: Status(UNAVAILABLE, "did not load within 60 s (--load-timeout)"),
    }
    assert models.is_served("b")


def test_version_for_which_none_waits_has_all_the_time(make):
    load, _, trials = make("a/1", timeout=7.0)
    load.load()
    assert trials.seconds == [7.0]


def test_version_before_a_slow_one_serves_and_then_gives_way(make):
    load, models, trials = make("a/1", "a/2")
    trials.give("a/2", TooSlow(), None)
    load.load()
    assert trials.begun == ["a/2", "a/1", "a/2"]
    assert statuses(models, "a") == {1: NEWER, 2: Status(READY)}


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
    """The first load check of "b" is too short, and the second takes until `go` is set."""

    def __init__(self):
        super().__init__()
        self.go = threading.Event()
        self.give("b/1", TooSlow(), None)

    def outcome(self, version):
        if self.begun.count("b/1") == 2:
            assert self.go.wait(30)
        return super().outcome(version)


@pytest.mark.usefixtures("fake_loading")
def test_what_serves_does_not_wait_for_what_takes_long(tmp_path):
    for version in ("a/1", "b/1", "c/1"):
        (tmp_path / version).mkdir(parents=True)
    models, trials = Repository(tmp_path), Waiting()
    load = Loader(models, trials, "cpu", allow_unproven=False, timeout=60.0, patience=0.5)
    thread = threading.Thread(target=load.load)
    thread.start()
    load.wait()
    assert (statuses(models, "a"), statuses(models, "b")) == ({1: Status(READY)}, {1: Status(LOADING)})
    assert statuses(models, "c") == {1: Status(READY)}
    assert not models.is_ready()
    trials.go.set()
    thread.join(30)
    assert models.is_ready()


@pytest.mark.usefixtures("fake_loading")
def test_fewer_checks_run_where_no_further_process_can_be_started(tmp_path, monkeypatch):
    for number in range(16):
        (tmp_path / f"m{number:02}" / "1").mkdir(parents=True)
    models, trials = Repository(tmp_path), FakeTrials()
    monkeypatch.setattr(trials, "_new_process", _fails)
    Loader(models, trials, "cpu", allow_unproven=False, timeout=60.0, processes=4).load()
    assert len(models.served()) == 16


def _fails():
    raise StartError("cannot start a process")


def test_the_graph_that_is_asked_for_is_told_where_a_version_is_tried(tmp_path, fake_loading):
    (tmp_path / "a/1").mkdir(parents=True)
    for graph in ("auto", "scan"):
        Loader(Repository(tmp_path), fake_loading, "cpu", allow_unproven=False, timeout=60.0, graph=graph).load()
    assert fake_loading.graphs == ["auto", "scan"]
