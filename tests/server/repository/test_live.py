"""Which changes of a repository's folder change what serves, what is kept, and what is told of it."""

import shutil

from kit.fake_trials import NO_GOOD, serve_newest
from kit.live_repositories import Published, tried
from rnnserve.server.repository import draft, entries
from rnnserve.server.repository.folders import version_numbers
from rnnserve.server.repository.repository import LOADING, READY, UNAVAILABLE, Status
from rnnserve.server.repository.trial_process import Refused

NEWER = Status(UNAVAILABLE, "a newer version serves")


def test_where_nothing_has_changed_nothing_is_tried_and_nothing_forgotten(published):
    generation = published.models.generation
    published.look()
    assert (tried(published), published.models.generation) == ([], generation)


def test_a_model_that_does_not_serve_leaves_the_server_ready_unless_all_are_asked_for(tmp_path, fakes):
    for ready in ("any", "all"):
        published = Published(tmp_path / ready, fakes, ready=ready)
        shutil.rmtree(published.root / "a" / "1")
        published.look()
        assert (published.models.is_served("b"), published.models.is_ready()) == (True, ready == "any")
        shutil.rmtree(published.root / "b" / "1")
        published.look()
        assert not published.models.is_ready()  # of the two models none serves
        published.publish("a/1")
        published.look()
        assert published.models.is_ready() == (ready == "any")


def test_a_version_policy_that_chooses_nothing_changes_nothing(published, monkeypatch):
    """A typing error in config.pbtxt is no reason to take out a model that serves."""
    before = published.models.find("a")
    monkeypatch.setattr(draft, "versions_to_serve", lambda *_: ([], 0))
    published.publish("a/2")
    why = "was loaded before; what its folder holds now: config.pbtxt: version_policy names no version that its folder"
    assert published.look()["a"][1].reason.startswith(why)
    assert published.models.find("a") is before
    assert tried(published) == []


def test_another_version_policy_is_followed(published, monkeypatch):
    published.publish("a/2")
    published.look()
    serve_newest(monkeypatch, wanted=2)
    (published.root / "a" / "config.pbtxt").write_text("version_policy: { all { }}")
    assert published.look()["a"] == {1: Status(READY), 2: Status(READY)}
    assert tried(published) == ["a/2", "a/1"]
    serve_newest(monkeypatch, not_chosen=(2,))
    (published.root / "a" / "config.pbtxt").write_text("version_policy: { specific { versions: 1 }}")
    assert published.look()["a"] == {
        1: Status(READY),
        2: Status(UNAVAILABLE, "not chosen by version_policy in config.pbtxt"),
    }


def test_a_folder_that_cannot_be_read_for_a_while_costs_no_version(published, monkeypatch):
    whole = version_numbers

    def refuse(folder):
        if folder.name == "a":
            raise PermissionError(13, "Permission denied")
        return whole(folder)

    monkeypatch.setattr(entries, "version_numbers", refuse)
    published.publish("a/2")
    statuses = published.look()
    assert statuses["a"][1].state == READY
    assert "its folder cannot be read: Permission denied" in statuses["a"][1].reason
    assert published.models.is_ready()


def test_a_defect_is_not_the_last_look(published, monkeypatch, caplog):
    published.publish("a/2")
    with monkeypatch.context() as broken:
        broken.setattr(published.models, "draft", lambda *_: 1 / 0)
        published.look()
    assert "internal error" in caplog.text
    assert published.look()["a"] == {1: NEWER, 2: Status(READY)}


def test_a_folder_that_changes_all_the_while_is_left_until_it_has_settled(tmp_path, fakes, monkeypatch):
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
    assert tried(published) == []
    published.look()
    assert waits == [0.2, 0.2]
    assert published.serving("a") == ("2", "more")


def test_what_is_loaded_beside_others_is_listed_as_loading_and_the_server_stays_ready(published, monkeypatch):
    seen = {}

    def outcome(*_, **__):
        seen.update({name: dict(versions) for name, versions in published.models.statuses()})
        seen["ready"] = published.models.is_ready()
        raise Refused(NO_GOOD)

    monkeypatch.setattr(published.trials, "outcome", outcome)
    published.publish("a/2")
    published.publish("c/1")
    published.look()
    assert seen == {
        "a": {1: Status(READY), 2: Status(LOADING)},
        "b": {1: Status(READY)},
        "c": {1: Status(LOADING)},
        "ready": True,
    }
