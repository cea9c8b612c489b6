"""Data classes for the servers of a cluster and their status, and the error of this area."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

__all__ = ["ClusterError", "FleetStatus", "ServerReport", "ServerSpec", "ServerState"]

ServerState = Literal["starting", "ready", "ended", "lost"]
"""The server is loading its models, is serving, has ended and will be restarted, or does not respond."""


class ClusterError(Exception):
    """The cluster was not found, or it cannot run the command. The message is one line for the user."""


@dataclasses.dataclass(frozen=True)
class ServerSpec:
    """How to start a server.

    Attributes:
        repository: Folder with the models, at the same path on every node.
        options: Options of `rnnserve serve`, without host and port.
        port: Port for gRPC, the same on every node.
        revision: Number of the update that introduced this spec, from 1.
    """

    repository: str
    options: tuple[str, ...] = ()
    port: int = 8001
    revision: int = 1

    def command(self, host: str) -> list[str]:
        """Return the arguments of `rnnserve`."""
        return ["serve", *self.options, "--host", host, "--grpc-port", str(self.port), "--", self.repository]

    def trial_command(self, host: str) -> list[str]:
        """Return the arguments of `rnnserve` for a second server on the same node, on free ports."""
        names = {option.partition("=")[0] for option in self.options}
        free = ["--http-port", "0"] if "--http-port" in names else ["--no-http"]
        if "--metrics-port" in names:
            free += ["--metrics-port", "0"]
        return ["serve", *self.options, *free, "--host", host, "--grpc-port", "0", "--", self.repository]


@dataclasses.dataclass(frozen=True)
class ServerReport:
    """The status of one server."""

    address: str  # `host:port`, or empty if the server does not respond
    state: ServerState
    spec: ServerSpec | None = None  # how the server is started, or None if it does not respond
    said: str = ""  # the last line of its output, if it is not serving
    starts: int = 0  # number of starts on its node


@dataclasses.dataclass(frozen=True)
class FleetStatus:
    """The status of all servers of one name: a report for each place (0, 1, …)."""

    name: str
    reports: Mapping[int, ServerReport]

    @property
    def endpoints(self) -> list[str]:
        """The addresses of the servers that are ready."""
        return [report.address for report in self.reports.values() if report.state == "ready"]

    @property
    def spec(self) -> ServerSpec | None:
        """The spec with the highest revision among the servers that respond."""
        specs = [report.spec for report in self.reports.values() if report.spec is not None]
        return max(specs, key=lambda spec: spec.revision, default=None)
