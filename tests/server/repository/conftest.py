"""Loaders without files, and repositories whose versions are a word in a folder."""

import pytest

from kit.fake_trials import FakeTrials, fake_models, load_fake, serve_newest
from kit.live_repositories import Published, read_fake
from rnnserve.server.repository import draft, loader


@pytest.fixture
def fake_loading(monkeypatch):
    """Configs, trials and models that are not there; the newest version of each model serves."""
    fake_models(monkeypatch)
    serve_newest(monkeypatch)
    return FakeTrials()


@pytest.fixture
def fakes(fake_loading, monkeypatch):
    """The same trials, of versions whose digest is the word in their manifest.json."""

    def load(folder, *args, **more):
        model = load_fake(folder, *args, **more)
        model.manifest.self_sha256 = (folder / "manifest.json").read_text()
        return model

    monkeypatch.setattr(loader, "load_model", load)
    monkeypatch.setattr(draft, "read_version", read_fake)
    return fake_loading


@pytest.fixture
def published(tmp_path, fakes):
    """Version 1 of the models "a" and "b", served and looked at on demand."""
    return Published(tmp_path, fakes)
