"""Fixtures of publishing, shared with the core suite."""

from kit.published_classifier import checkpoint, exported, not_published, repository, verified, version

__all__ = ["checkpoint", "exported", "not_published", "repository", "verified", "version"]
