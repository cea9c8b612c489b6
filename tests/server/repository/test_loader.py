"""Which version is checked when, for how long, and what happens then."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from kit.fake_checks import FakeChecks, load_fake
from rnnserve.server.errors import StartError
from rnnserve.server.repository import loader
from rnnserve.server.repository.load_checks import TooSlow
from rnnserve.server.repository.loader import Loader, Outcome
from rnnserve.server.repository.repository import LOADING, READY, UNAVAILABLE, Repository, Status
from rnnserve.server.settings import Settings

NEWER = Status(UNAVAILABLE, "a newer version serves")


@pytest.fixture
def make(tmp_path, fake_loading):
    """Makes a loader of versions such as "a/1"."""

    def make(
        *versions: str, checks: FakeChecks | None = None, settings: Mapping[str, Any] = {}, **more: Any
    ) -> tuple[Callable[[], Outcome], Repository, FakeChecks]:
        for version in versions:
            (tmp_path / version).mkdir(parents=True)
        models, checks = Repository(tmp_path), checks or fake_loading
        load = Loader(models, checks, "cpu", Settings(tmp_path, **settings), **more)
        return lambda: load.load(models.models()), models, checks

    return make


def statuses(models, name):
    return dict(models.statuses())[name]


def test_newest_version_is_checked_first_and_older_ones_only_if_it_fails(make):
    load, models, checks = make("a/1", "a/2", "b/1", "c/1", "c/2", "c/3")
    checks.refuse("c/3")
    load()
    assert checks.begun == ["a/2", "b/1", "c/3", "c/2"]
    assert statuses(models, "a") == {1: NEWER, 2: Status(READY)}
    assert statuses(models, "c")[1] == NEWER
    assert checks.is_closed
    assert models.is_ready()


def test_slow_versions_are_checked_again_after_all_others(make):
    load, models, checks = make("a/1", "a/2", "b/1", "c/1")
    checks.give("a/2", TooSlow())
    checks.give("b/1", TooSlow(), None)
    load()
    assert checks.begun == ["a/2", "b/1", "c/1", "a/1", "a/2", "b/1"]
    assert checks.seconds == [1.0, 1.0, 1.0, 1.0, 60.0, 60.0]
    assert statuses(models, "a") == {
        1: Status(READY),
        2: Status(UNAVAILABLE, "did not load within 60 s (--load-timeout)"),
    }
    assert models.is_served("b")


@pytest.mark.parametrize("error", [MemoryError(), ZeroDivisionError("in /home/x/y.py:3\nmore"), KeyError("x")])
def test_previous_version_serves_when_loading_raises(make, monkeypatch, caplog, error):
    load, models, _ = make("a/1", "a/2")

    def load_model(check, **more):
        if check.version == "2":
            raise error
        return load_fake(check, **more)

    monkeypatch.setattr(loader, "load_model", load_model)
    load()
    assert models.versions("a") == ["1"]
    reason = statuses(models, "a")[2].reason
    assert reason.startswith(f"cannot be loaded: {type(error).__name__}:")
    assert "\n" not in reason
    assert "/home" not in reason
    assert f"Not serving a version 2: {reason}" in caplog.text
    assert "Traceback" not in caplog.text


class Waiting(FakeChecks):
    """The first load check of "b" is too short, and the second takes until `go` is set."""

    def __init__(self):
        super().__init__()
        self.go = threading.Event()
        self.give("b/1", TooSlow(), None)

    def outcome(self):
        if self.begun.count("b/1") == 2:
            assert self.go.wait(30)
        return super().outcome()


@pytest.mark.usefixtures("fake_loading")
def test_slow_model_does_not_delay_others(tmp_path):
    for version in ("a/1", "b/1", "c/1"):
        (tmp_path / version).mkdir(parents=True)
    models, checks = Repository(tmp_path), Waiting()
    load = Loader(models, checks, "cpu", Settings(tmp_path), patience=0.5)
    thread = threading.Thread(target=load.load, args=(models.models(),))
    thread.start()
    load.wait()
    assert (statuses(models, "a"), statuses(models, "b")) == ({1: Status(READY)}, {1: Status(LOADING)})
    assert statuses(models, "c") == {1: Status(READY)}
    assert not models.is_ready()
    checks.go.set()
    thread.join(30)
    assert models.is_ready()


def test_versions_that_cannot_be_checked_have_the_reason_in_their_status(make):
    load, models, checks = make("a/1", "b/1")
    checks.give("a/1", StartError("no device"))
    outcome = load()
    assert (str(outcome.error), outcome.is_whole) == ("no device", False)
    not_tried = Status(UNAVAILABLE, "could not be checked; the server's log has the reason")
    assert dict(models.statuses()) == {"a": {1: not_tried}, "b": {1: not_tried}}
