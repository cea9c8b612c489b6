"""Loaders without files."""

import pytest

from support.fake_trials import FakeTrials, fake_models, serve_newest


@pytest.fixture
def fake_loading(monkeypatch):
    """Configs, trials and models that are not there; the newest version of each model serves."""
    fake_models(monkeypatch)
    serve_newest(monkeypatch)
    return FakeTrials()
