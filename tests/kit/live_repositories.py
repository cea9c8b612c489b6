"""Repositories that are looked at while they serve: a version is a word in a folder, and load checks are fake."""

import types

import pytest

from kit.fake_checks import NO_GOOD, FakeChecks, fake_models, load_fake, serve_newest
from rnnserve.protos.artifact import ArtifactError
from rnnserve.server.repository import loader
from rnnserve.server.repository.live import LiveRepository
from rnnserve.server.repository.loader import Loader
from rnnserve.server.repository.repository import Repository
from rnnserve.server.settings import Settings

PATIENCE = 20.0


class Published:
    """A repository whose versions are folders with one word in them, which stands for their digest."""

    def __init__(self, root, checks, control="poll", wanted=None, ready="any", **bounds):
        self.root, self.checks = root, checks
        self.bounds = {"settled_seconds": 0.0, **bounds}
        self.publish("a/1")
        self.publish("b/1")
        self.models = Repository(root, wanted=wanted, control=control, ready=ready)
        self.live = self.follow(self.models)

    def follow(self, models):
        loader = Loader(models, self.checks, "cpu", Settings(self.root))
        loader.load(models.models())
        self.checks.begun.clear()
        seen = models.folders.fingerprints()
        return LiveRepository(models, loader, poll=None, seen=seen, on_tick=lambda: None, **self.bounds)

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


def replace_loading(monkeypatch):
    """Let loaders load versions whose digest is the word in their manifest.json. The newest of each model serves."""

    def load(check, **more):
        model = load_fake(check, **more)
        model.manifest.self_sha256 = (check.folder / "manifest.json").read_text()
        return model

    fake_models(monkeypatch)
    serve_newest(monkeypatch)
    monkeypatch.setattr(loader, "load_model", load)
    monkeypatch.setattr(loader, "read_version", read_fake)


@pytest.fixture
def fake_loading(monkeypatch):
    """Configs, checks and models that are not there. The newest version of each model serves."""
    fake_models(monkeypatch)
    serve_newest(monkeypatch)
    return FakeChecks()


@pytest.fixture
def fakes(monkeypatch):
    """Load checks of versions whose digest is the word in their manifest.json."""
    replace_loading(monkeypatch)
    return FakeChecks()


@pytest.fixture
def published(tmp_path, fakes):
    """Version 1 of the models "a" and "b", served and looked at on demand."""
    return Published(tmp_path, fakes)


def read_fake(folder, keep, inside, signed):
    """Read a version's word, in place of its files; "broken" is one whose digests do not hold."""
    word = (folder / "manifest.json").read_text()
    if word == "broken":
        raise ArtifactError(NO_GOOD)
    return types.SimpleNamespace(manifest=types.SimpleNamespace(self_sha256=word, inputs=[], outputs=[]))


def checked(published):
    """The versions that were checked, in this order."""
    return list(published.checks.begun)
