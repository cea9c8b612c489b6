from kit.clients import _server, client, connect, infer, service, url
from kit.fleet import servers

__all__ = ["_server", "client", "connect", "infer", "servers", "service", "url"]
