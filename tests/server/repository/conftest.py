"""Loaders without files, and repositories whose versions are a word in a folder."""

from kit.live_repositories import fake_loading, fakes, published

__all__ = ["fake_loading", "fakes", "published"]
