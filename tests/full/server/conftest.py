"""The fixtures of `tests/server`, for its breadth."""

from kit.server_fixtures import channel, models, server, service, session_key, stub, zoo

__all__ = ["channel", "models", "server", "service", "session_key", "stub", "zoo"]
