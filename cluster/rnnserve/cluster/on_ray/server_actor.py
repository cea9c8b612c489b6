"""The actor that keeps a server on its node."""

import ray.util

from rnnserve.cluster.kept_server import KeptServer
from rnnserve.cluster.servers import ServerReport, ServerSpec

__all__ = ["ServerActor"]


class ServerActor:
    """Keeps a server on the node that Ray has chosen; the methods are those of `KeptServer`."""

    def __init__(self, spec: ServerSpec) -> None:
        self._server = KeptServer(ray.util.get_node_ip_address(), spec)

    def report(self) -> ServerReport:
        """Return what the server does."""
        return self._server.report()

    def prove(self, spec: ServerSpec) -> str:
        """Return why another server would not serve here, empty if it would."""
        return self._server.prove(spec)

    def stop(self) -> None:
        """Let the server end."""
        self._server.stop()
