"""Which changes of a repository's folder change what serves, what is kept, and what is told of it."""

import os
import shutil
import threading
import time
import types

import pytest

from rnnserve.protos.artifact import ArtifactError
from rnnserve.server.errors import LoadFailed, NotFound, NotReady, ShuttingDown, StartError, TooManyCalls
from rnnserve.server.repository import draft, entries, loader, pinned_loader
from rnnserve.server.repository.folders import fingerprints, version_numbers, way_out
from rnnserve.server.repository.live import LiveRepository
from rnnserve.server.repository.loader import Loader
from rnnserve.server.repository.repository import LOADING, READY, UNAVAILABLE, Repository, Status
from rnnserve.server.repository.trial_process import Refused
from support.fake_trials import FOUND, NO_GOOD, load_fake, serve_newest
from support.waiting import until

NEWER = Status(UNAVAILABLE, "a newer version serves")
KEPT = Status(READY, f"was loaded before; what its folder holds now: {NO_GOOD}")
PATIENCE = 20.0


class Published:
    """A repository whose versions are folders with one word in them, which stands for their digest."""

    def __init__(self, root, trials, control="poll", wanted=None, ready="any", **bounds):
        self.root, self.trials = root, trials
        self.bounds = {"settled_seconds": 0.0, **bounds}
        self.publish("a/1")
        self.publish("b/1")
        self.models = Repository(root, wanted=wanted, control=control, ready=ready)
        self.live = self.follow(self.models)

    def follow(self, models):
        def new_loader(of):
            return Loader(of, self.trials, "cpu", allow_unproven=False, timeout=60.0)

        new_loader(models).load()
        self.trials.begun.clear()
        seen = fingerprints(self.root)
        return LiveRepository(models, new_loader, poll=None, seen=seen, on_tick=lambda: None, **self.bounds)

    def publish(self, version, digest="first"):
        folder = self.root / version
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").write_text(digest)

    def look(self):
        self.live._look()
        return {name: dict(versions) for name, versions in self.models.statuses()}

    def serving(self, name):
        found = self.models.find(name).model
        return found.version, found.manifest.self_sha256


def read_fake(folder, keep, inside):
    word = (folder / "manifest.json").read_text()
    if word == "broken":
        raise ArtifactError(NO_GOOD)
    return types.SimpleNamespace(manifest=types.SimpleNamespace(self_sha256=word))


@pytest.fixture
def fakes(fake_loading, monkeypatch):
    def load(folder, *args, **more):
        model = load_fake(folder, *args, **more)
        model.manifest.self_sha256 = (folder / "manifest.json").read_text()
        return model

    monkeypatch.setattr(loader, "load_model", load)
    monkeypatch.setattr(draft, "read_version", read_fake)
    return fake_loading


@pytest.fixture
def published(tmp_path, fakes):
    return Published(tmp_path, fakes)


def tried(published):
    return [version for version, _ in published.trials.begun]


def test_where_nothing_has_changed_nothing_is_tried_and_nothing_forgotten(published):
    generation = published.models.generation
    published.look()
    assert (tried(published), published.models.generation) == ([], generation)


def test_a_new_version_takes_over_and_only_it_is_tried(published):
    before = published.models.find("b")
    published.publish("a/2")
    statuses = published.look()
    assert statuses == {"a": {1: NEWER, 2: Status(READY)}, "b": {1: Status(READY)}}
    assert tried(published) == ["a/2"]
    assert published.models.find("b") is before
    published.look()
    assert tried(published) == ["a/2"]


def test_a_version_that_is_published_anew_replaces_the_one_of_its_number(published):
    published.publish("a/1", "second")
    assert published.look()["a"] == {1: Status(READY)}
    assert published.serving("a") == ("1", "second")


def test_files_that_are_touched_are_not_loaded_again(published):
    before = published.models.find("a").model
    os.utime(published.root / "a" / "1" / "manifest.json", ns=(1, 1))
    published.look()
    assert tried(published) == []
    assert published.models.find("a").model is before


@pytest.mark.parametrize("word", ["broken", "second"])
def test_what_is_published_anew_and_does_not_hold_leaves_what_was_loaded(published, word):
    """Whether its digests do not hold, or its trial fails; and the version before it does not come back."""
    published.publish("a/2")
    published.look()
    published.trials.refuse("a/2")
    published.publish("a/2", word)
    assert published.look()["a"] == {1: NEWER, 2: KEPT}
    assert published.serving("a") == ("2", "first")
    assert published.models.is_ready()


def test_a_version_that_disappears_gives_way_to_the_one_before(published):
    published.publish("a/2")
    published.look()
    shutil.rmtree(published.root / "a" / "2")
    assert published.look()["a"] == {1: Status(READY)}
    with pytest.raises(NotFound, match='model "a" has no version "2"; it has 1'):
        published.models.find("a", "2")


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


def test_without_any_version_a_model_does_not_serve(tmp_path, fakes):
    published = Published(tmp_path, fakes, ready="all")
    shutil.rmtree(published.root / "a" / "1")
    assert published.look()["a"] == {}
    with pytest.raises(NotReady, match='model "a" does not serve: has no versions'):
        published.models.find("a")
    assert not published.models.is_ready()  # it is still one of the repository's
    shutil.rmtree(published.root / "a")
    assert "a" not in published.look()
    assert published.models.is_ready()


def test_a_new_model_that_does_not_hold_leaves_the_server_ready(published):
    published.trials.refuse("c/1")
    published.publish("c/1")
    assert published.look()["c"] == {1: Status(UNAVAILABLE, NO_GOOD)}
    assert published.models.is_ready()
    published.trials.give("c/1", None)
    published.publish("c/1", "second")
    assert published.look()["c"] == {1: Status(READY)}
    published.publish("c/1", "broken")
    assert published.look()["c"] == {1: KEPT}
    assert published.models.is_ready()


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


def test_where_nothing_can_be_tried_it_is_tried_again_at_the_next_look(published):
    published.trials.give("a/2", StartError("cannot start a process that tries models"))
    published.publish("a/2")
    assert published.look()["a"][1].state == READY
    published.trials.give("a/2", None)
    assert published.look()["a"] == {1: NEWER, 2: Status(READY)}


def test_a_defect_is_not_the_last_look(published, monkeypatch, caplog):
    published.publish("a/2")
    with monkeypatch.context() as broken:
        broken.setattr(published.models, "draft", lambda *_: 1 / 0)
        published.look()
    assert "internal error" in caplog.text
    assert published.look()["a"] == {1: NEWER, 2: Status(READY)}


def test_a_folder_that_changes_all_the_while_is_left_until_it_has_settled(tmp_path, fakes):
    published = Published(tmp_path, fakes, settled_seconds=0.2)
    copying = threading.Timer(0.1, published.publish, ("a/2", "more"))
    published.publish("a/2", "half")
    copying.start()
    published.look()
    assert tried(published) == []
    copying.join()
    published.look()
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


def test_what_another_server_serves_is_prepared_and_adopted_or_refused(published, tmp_path):
    other = Repository(tmp_path, control="poll")
    following = published.follow(other)
    published.publish("a/2")
    published.look()
    pins = published.models.pins()
    published.trials.begun.clear()
    following._prepare(["a"], pins, [("a", 2, FOUND.as_fields())])
    assert tried(published) == []  # since the other server has
    assert other.find("a").model.version == "1"
    following._adopt()
    assert (other.find("a").model.version, other.pins()) == ("2", pins)
    following._adopt()  # nothing is prepared any more
    published.publish("a/2", "second")
    published.look()
    published.publish("a/2", "third")
    with pytest.raises(LoadFailed, match=r"was published anew after the other workers had loaded it"):
        following._prepare(["a"], published.models.pins(), [])
    following._adopt()
    assert other.find("a").model.manifest.self_sha256 == "first"


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


def test_links_that_lead_out(tmp_path):
    root, outside = tmp_path / "repository", tmp_path / "outside"
    (root / "a" / "1").mkdir(parents=True)
    outside.mkdir()
    (root / "inner").symlink_to(root / "a")
    assert (way_out(root, root / "a"), way_out(root, root / "inner")) == (None, None)
    (root / "outer").symlink_to(outside)
    assert way_out(root, root / "outer") == "outer"
    (root / "a" / "2").symlink_to(outside)
    assert way_out(root, root / "a") == "2"
    (root / "a" / "1" / "model.onnx").symlink_to("../../../outside/model.onnx")
    assert way_out(root, root / "a" / "1") == "model.onnx"


def test_all_is_loaded_again_where_that_is_asked_for(published):
    """What a restart does, in one process: what does not hold changes nothing, and what is gone serves no more."""
    published.publish("a/2")
    published.publish("b/1", "broken")
    published.publish("c/1")
    published.live._reload()
    assert published.serving("a")[0] == "2"
    assert published.serving("b") == ("1", "first")
    assert published.serving("c")[0] == "1"
    shutil.rmtree(published.root / "a")
    published.live._reload()
    assert not published.models.has("a")


def test_a_repository_that_is_away_or_empty_changes_nothing(published):
    published.root.rename(published.root.parent / "away")
    with pytest.raises(LoadFailed, match="cannot be loaded"):
        published.live._reload()
    published.root.mkdir()
    with pytest.raises(LoadFailed, match="no model lies in"):
        published.live._reload()
    assert published.serving("a") == ("1", "first")


def test_with_explicit_control_it_is_what_is_loaded_and_what_a_start_loads(explicit):
    """Others are for requests to load; see `explicit` for what is loaded."""
    before = set(explicit.models.models())
    explicit.publish("a/2")
    explicit.publish("z/1")
    explicit.live._start_with = ["z"]
    explicit.live._reload()
    assert set(explicit.models.models()) == before | {"z"}


@pytest.mark.parametrize("word", ["other", None])
def test_what_others_serve_is_looked_at_before_it_is_loaded_again(published, monkeypatch, word, caplog):
    """It may be gone for long, and each trial would fill the log."""
    monkeypatch.setattr(pinned_loader, "read_version", read_fake)
    monkeypatch.setattr(pinned_loader, "read_config", lambda *_: None)
    pins = published.models.pins()
    if word is None:
        shutil.rmtree(published.root / "a" / "1")
    else:
        published.publish("a/1", word)
    for _ in range(3):
        with pytest.raises(LoadFailed, match=r"^a: "):
            published.live._mend(["a"], pins)
    assert not tried(published)
    assert not caplog.messages
    published.publish("a/1", "first")
    published.live._mend(["a"], pins)
    published.live._adopt()
    assert published.models.pins() == pins
