"""Loaders without files, processes that try versions, and repositories whose versions are a word in a folder."""

from kit.live_repositories import fake_loading, fakes, published
from kit.trial_processes import tried

__all__ = ["fake_loading", "fakes", "published", "tried"]
