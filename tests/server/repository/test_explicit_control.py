"""Models that are loaded and unloaded on request, one change after another."""

import threading
import time

import pytest

from kit.fake_trials import NO_GOOD
from kit.live_repositories import PATIENCE, Published
from kit.waiting import until
from rnnserve.server.errors import LoadFailed, NotFound, ShuttingDown, StartError, TooManyCalls
from rnnserve.server.repository.repository import Repository


@pytest.fixture
def explicit(tmp_path, fakes):
    """A repository that changes on request, with a thread that makes the changes."""
    published = Published(tmp_path, fakes, "explicit", ["a"])
    thread = threading.Thread(target=published.live.run)
    thread.start()
    yield published
    published.live.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_loading_and_unloading(explicit):
    assert (explicit.models.is_served("a"), explicit.models.is_served("b"), explicit.models.is_ready()) == (
        True,
        False,
        True,
    )
    explicit.live.load("b")
    assert explicit.models.is_served("b")
    explicit.live.unload("a")
    explicit.live.unload("nowhere")
    assert (explicit.models.is_served("a"), explicit.models.is_ready()) == (False, True)
    with pytest.raises(NotFound, match='failed to load "nowhere", failed to poll from model repository'):
        explicit.live.load("nowhere")
    explicit.trials.refuse("b/2")
    explicit.publish("b/2")
    with pytest.raises(LoadFailed, match=f'^failed to load "b": b version 2: {NO_GOOD}$'):
        explicit.live.load("b")
    assert explicit.models.find("b").model.version == "1"


def test_changes_are_made_one_after_another(explicit, monkeypatch):
    running, most = [], []

    answer = explicit.trials.outcome

    def outcome(*args, **more):
        running.append(1)
        most.append(len(running))
        time.sleep(0.02)
        running.pop()
        return answer(*args, **more)

    monkeypatch.setattr(explicit.trials, "outcome", outcome)
    for number in range(2, 7):
        explicit.publish(f"b/{number}")
    threads = [threading.Thread(target=explicit.live.load, args=("b",)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert set(most) == {1}
    assert explicit.models.find("b").model.version == "6"


def test_what_waits_when_the_server_stops_is_told_so(tmp_path, fakes):
    published = Published(tmp_path, fakes, "explicit", most_waiting=2)
    said = []

    def load():
        try:
            published.live.load("a")
        except ShuttingDown as error:
            said.append(error)

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    until(published.live._changes.full)
    with pytest.raises(TooManyCalls):
        published.live.load("a")
    published.live.stop()
    published.live.run()  # which has not begun before
    for thread in threads:
        thread.join(PATIENCE)
    assert len(said) == 2
    with pytest.raises(ShuttingDown):
        published.live.load("a")


def test_a_model_to_load_that_is_not_there_is_a_mistake_at_the_start(tmp_path):
    (tmp_path / "a" / "1").mkdir(parents=True)
    with pytest.raises(StartError, match=r"--load-model c: .* has no model of this name; it has a"):
        Repository(tmp_path, wanted=["a", "c"], control="explicit")
