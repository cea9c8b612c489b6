"""Loaders without files, processes that check versions, and repositories whose versions are a word in a folder."""

from kit.checking import checked
from kit.live_repositories import fake_loading, fakes, published

__all__ = ["checked", "fake_loading", "fakes", "published"]
