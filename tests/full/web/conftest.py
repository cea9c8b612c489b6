from kit.gateways import web_server

__all__ = ["web_server"]
