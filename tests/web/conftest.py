from kit.http_servers import served

__all__ = ["served"]
