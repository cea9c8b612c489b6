"""The actor that keeps a server on its node."""

import dataclasses
import os
from collections.abc import Sequence

import ray
import ray.util

from rnnserve.cluster.kept_server import KeptServer
from rnnserve.cluster.servers import ServerReport, ServerSpec

__all__ = ["ServerActor"]

_ALONE, _ALONE_SECONDS = "RAY_gcs_rpc_server_reconnect_timeout_s", 60.0
"""Ray's variable of how long a node waits for a head that is lost, before it ends with all its actors; its default."""


class ServerActor:
    """Keeps a server on the node that Ray has given it; started again, it does so there."""

    def __init__(self, fleet: str, spec: ServerSpec, endpoints: str) -> None:
        self._server = KeptServer(fleet, ray.util.get_node_ip_address(), spec, endpoints)

    def report(self) -> ServerReport:
        """Say what the server does."""
        return dataclasses.replace(self._server.report(), alone=float(os.environ.get(_ALONE, _ALONE_SECONDS)))

    def prove(self, spec: ServerSpec) -> str:
        """Try whether another server would serve here; give why not, empty if it would."""
        return self._server.prove(spec)

    def publish(self, endpoints: Sequence[str]) -> None:
        """Write the file of endpoints on this node."""
        self._server.publish(endpoints)

    def stop(self) -> None:
        """Let the server end."""
        self._server.stop()
