"""A worker that replaces another serves what the others do, or else what a fresh start would: never less."""

import shutil
import types

import pytest

from kit.fake_trials import NO_GOOD, FakeTrials, load_fake, serve_newest
from rnnserve.protos import model_config_pb2
from rnnserve.protos.artifact import ArtifactError
from rnnserve.server.errors import StartError
from rnnserve.server.repository import draft, loader, pinned_loader
from rnnserve.server.repository.loader import Loader
from rnnserve.server.repository.pinned_loader import PinnedLoader, find_versions
from rnnserve.server.repository.pins import ModelPins, Pin, differing
from rnnserve.server.repository.repository import Repository

MODELS = ("a", "b")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Two models of two versions, each a folder with its digest; the newest one serves."""
    root = tmp_path / "repository"
    for name in MODELS:
        for version in (1, 2):
            publish(root, name, version)
    serve_newest(monkeypatch)

    def config(folder, inside, only, check):
        if (folder / "config.pbtxt").exists():
            raise ArtifactError("config.pbtxt: nonsense")
        return model_config_pb2.ModelConfig(name=folder.name)

    def load(folder, *args, **more):
        model = load_fake(folder, *args, **more)
        model.manifest.self_sha256 = digest(folder)
        return model

    def read(folder, keep, inside, signed):
        return types.SimpleNamespace(manifest=types.SimpleNamespace(self_sha256=digest(folder)))

    monkeypatch.setattr(draft, "read_config", config)
    monkeypatch.setattr(pinned_loader, "read_config", config)
    monkeypatch.setattr(loader, "load_model", load)
    monkeypatch.setattr(loader, "check_tensors", lambda *_: None)
    monkeypatch.setattr(draft, "read_version", read)
    monkeypatch.setattr(pinned_loader, "read_version", read)
    return root


def publish(root, name, version, word="first"):
    folder = root / name / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(f"{word} {version}")


def digest(folder):
    try:
        return (folder / "manifest.json").read_text()
    except OSError:
        raise ArtifactError("manifest.json: is missing") from None


class Trying(FakeTrials):
    """Lets pass what is there and no nonsense."""

    def trial(self, trial):
        super().trial(trial)
        if not (trial.folder / "manifest.json").exists() or "nonsense" in digest(trial.folder):
            self.refuse(f"{trial.name}/{trial.version}")


def loaded(root, pins=None, wanted=None, control="none"):
    trials = Trying()
    models = Repository(root, pins, wanted=wanted, control=control)

    def new_loader(of):
        return Loader(of, trials, "cpu", allow_unproven=False, timeout=60.0)

    if pins is None:
        new_loader(models).load()
        return models
    loads = PinnedLoader(models, pins, wanted, new_loader)
    loads.load()
    loads.wait()
    return models


def served(models):
    return {name: sorted(found(models, name)) for name in sorted(models.pins())}


def found(models, name):
    return [pin.digest for pin in models.pins()[name].versions.values() if pin.digest]


def remove_version(root):
    shutil.rmtree(root / "a" / "2")


def publish_anew(root):
    publish(root, "a", 2, "anew")


def damage_version(root):
    publish(root, "a", 2, "nonsense")


def remove_model(root):
    shutil.rmtree(root / "a")


def damage_config(root):
    (root / "a" / "config.pbtxt").write_text("nonsense")


DAMAGES = {
    remove_version: ["first 1"],
    publish_anew: ["anew 2"],
    damage_version: ["first 1"],
    remove_model: [],
    damage_config: [],
}


@pytest.mark.parametrize("control", ["none", "poll", "explicit"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_it_serves_what_a_fresh_start_would_and_the_rest_as_the_others_do(root, control, damage, caplog):
    pins = loaded(root, control=control).pins()
    damage(root)
    publish(root, "b", 3)  # not to be served: the others serve 2
    wanted = [] if control == "explicit" else None  # models were loaded by requests
    models = loaded(root, pins, wanted, control)
    assert served(models) == {"a": DAMAGES[damage], "b": ["first 2"]}
    fresh = loaded(root, control=control)
    assert served(fresh).get("a", []) == DAMAGES[damage]
    told = [message for message in caplog.messages if "what the other workers serve cannot be loaded" in message]
    assert [message.partition(":")[0] for message in told] == ["a"]
    # It is as ready as a fresh start, and can be mended exactly where the files are there.
    assert models.is_ready() == fresh.is_ready()
    assert differing(pins, models.pins()) == ["a"]
    with pytest.raises(ArtifactError):
        find_versions(root / "a", "a", pins["a"])
    find_versions(root / "b", "b", pins["b"])


def test_where_nothing_is_changed_it_serves_the_same_and_says_nothing(root, caplog):
    pins = loaded(root).pins()
    publish(root, "a", 3)
    assert served(loaded(root, pins)) == {"a": ["first 2"], "b": ["first 2"]}
    assert not [message for message in caplog.messages if "other workers" in message]


def test_where_nothing_of_it_is_left_it_serves_all_that_a_fresh_start_would(root):
    pins = loaded(root).pins()
    for name in MODELS:
        shutil.rmtree(root / name)
    publish(root, "c", 1)
    assert served(loaded(root, pins))["c"] == ["first 1"]


def test_where_nothing_can_be_served_it_says_why(root):
    pins = loaded(root).pins()
    for name in MODELS:
        for version in (1, 2):
            publish(root, name, version, "nonsense")
    with pytest.raises(StartError, match=f"(?s)may serve:.*version 1: {NO_GOOD}"):
        loaded(root, pins)


def test_models_that_were_not_loaded_stay_so(root):
    """With --model-control explicit, nothing need be loaded at all."""
    pins = loaded(root, wanted=[], control="explicit").pins()
    assert served(loaded(root, pins, [], "explicit")) == {"a": [], "b": []}


@pytest.mark.parametrize(
    ("wanted", "found", "differ"),
    [
        ({1: Pin("d")}, {1: Pin("d")}, False),
        ({1: Pin("d")}, {1: Pin("d"), 2: Pin("", "gone")}, False),
        ({1: Pin("d")}, {1: Pin("e")}, True),
        ({1: Pin("d")}, {2: Pin("d")}, True),
        ({1: Pin("d"), 2: Pin("")}, {2: Pin("e")}, False),  # 2 was being loaded
        ({1: Pin("d"), 2: Pin("")}, {2: Pin("", "gone")}, True),
        ({1: Pin("", "gone")}, {}, False),
    ],
)
def test_what_is_a_difference(wanted, found, differ):
    assert differing({"a": ModelPins(wanted)}, {"a": ModelPins(found)}) == ["a"] * differ
