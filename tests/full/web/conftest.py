from kit.fronts import web_server

__all__ = ["web_server"]
