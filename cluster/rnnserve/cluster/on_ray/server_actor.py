"""The Ray actor that keeps a server running on its node."""

import ray.util

from rnnserve.cluster.kept_server import KeptServer
from rnnserve.cluster.servers import ServerReport, ServerSpec

__all__ = ["ServerActor"]


class ServerActor:
    """Keeps a server running on the node that Ray has chosen. It has the methods of `KeptServer`."""

    def __init__(self, spec: ServerSpec) -> None:
        self._server = KeptServer(ray.util.get_node_ip_address(), spec)

    def report(self) -> ServerReport:
        """Return the server's status."""
        return self._server.report()

    def prove(self, spec: ServerSpec) -> str:
        """Test a second server on this node. Returns why it doesn't serve, or an empty text."""
        return self._server.prove(spec)

    def stop(self) -> None:
        """Shut the server down."""
        self._server.stop()
