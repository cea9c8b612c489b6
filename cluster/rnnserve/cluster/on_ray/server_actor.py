"""The actor that keeps a server on its node."""

import dataclasses
import os

import ray
import ray.util

from rnnserve.cluster.kept_server import KeptServer
from rnnserve.cluster.servers import ServerReport, ServerSpec

__all__ = ["ServerActor"]

_ALONE, _ALONE_SECONDS = "RAY_gcs_rpc_server_reconnect_timeout_s", 60.0
"""Ray's variable of how long a node waits for a lost head, before it ends with all its actors; and its default."""


class ServerActor:
    """Keeps a server on the node that Ray has chosen."""

    def __init__(self, spec: ServerSpec) -> None:
        self._server = KeptServer(ray.util.get_node_ip_address(), spec)

    def report(self) -> ServerReport:
        """Return what the server does."""
        return dataclasses.replace(self._server.report(), alone=float(os.environ.get(_ALONE, _ALONE_SECONDS)))

    def prove(self, spec: ServerSpec) -> str:
        """Try whether another server would serve here; return why not, empty if it would."""
        return self._server.prove(spec)

    def stop(self) -> None:
        """Let the server end."""
        self._server.stop()
