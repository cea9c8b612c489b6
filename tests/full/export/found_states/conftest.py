"""Fixtures of servers, shared with the core suite."""

from kit.server_fixtures import session_key

__all__ = ["session_key"]
