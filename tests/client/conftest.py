from kit.clients import _server, client, connect, infer, servers, service, url

__all__ = ["_server", "client", "connect", "infer", "servers", "service", "url"]
