"""The fixtures of every folder of the server."""

from kit.server_fixtures import channel, models, server, service, session_key, stub, zoo

__all__ = ["channel", "models", "server", "service", "session_key", "stub", "zoo"]
