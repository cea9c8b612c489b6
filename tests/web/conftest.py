from kit.http_servers import web_server

__all__ = ["web_server"]
