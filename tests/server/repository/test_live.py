"""Changes of the repository's folder, and requests, change which models serve, and the reported states."""

import threading

import pytest

from kit.live_repositories import PATIENCE, Published, checked
from kit.waiting import until
from rnnserve.server.errors import ShuttingDown, StartError, TooManyCalls
from rnnserve.server.repository import loader
from rnnserve.server.repository.folders import version_numbers
from rnnserve.server.repository.repository import READY, UNAVAILABLE, Repository, Status

NEWER = Status(UNAVAILABLE, "a newer version serves")


def test_version_policy_without_versions_changes_nothing(published, monkeypatch):
    """A typing error in config.pbtxt must not stop a serving model."""
    before = published.models.find("a")
    monkeypatch.setattr(loader, "versions_to_serve", lambda *_: ([], 0))
    published.publish("a/2")
    why = (
        "was loaded before; what its folder holds now: config.pbtxt: version_policy does not name any version in "
        "the folder"
    )
    assert published.look()["a"][1].reason.startswith(why)
    assert published.models.find("a") is before
    assert checked(published) == []


def test_unreadable_folder_keeps_versions_serving(published, monkeypatch):
    whole = version_numbers

    def refuse(folder):
        if folder.name == "a":
            raise PermissionError(13, "Permission denied")
        return whole(folder)

    monkeypatch.setattr(loader, "version_numbers", refuse)
    published.publish("a/2")
    statuses = published.look()
    assert statuses["a"][1].state == READY
    assert "its folder cannot be read: Permission denied" in statuses["a"][1].reason
    assert published.models.is_ready()


def test_scanning_continues_after_a_defect(published, monkeypatch, caplog):
    published.publish("a/2")
    with monkeypatch.context() as broken:
        broken.setattr(published.models, "entry", lambda *_: 1 / 0)
        published.look()
    assert "internal error" in caplog.text
    assert published.look()["a"] == {1: NEWER, 2: Status(READY)}


def test_changing_folder_is_loaded_after_it_has_settled(tmp_path, fakes, monkeypatch):
    published = Published(tmp_path, fakes, settled_seconds=0.2)
    published.publish("a/2", "half")
    waits = []

    def copy_on(seconds):
        if not waits:
            published.publish("a/2", "more")
        waits.append(seconds)
        return False

    monkeypatch.setattr(published.live._is_stopped, "wait", copy_on)
    published.look()
    assert checked(published) == []
    published.look()
    assert waits == [0.2, 0.2]
    assert published.serving("a") == ("2", "more")


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


def test_pending_changes_fail_when_server_stops(tmp_path, fakes):
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


def test_missing_model_of_load_model_is_a_start_error(tmp_path):
    (tmp_path / "a" / "1").mkdir(parents=True)
    with pytest.raises(StartError, match=r"--load-model c: .* has no model with this name; it has a"):
        Repository(tmp_path, wanted=["a", "c"], control="explicit")
