"""What is placed on a cluster, what is known of it, and the error of this area."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

__all__ = ["ClusterError", "FleetStatus", "ServerReport", "ServerSpec", "ServerState"]

ServerState = Literal["starting", "ready", "ended", "lost"]
"""Whether it loads its models, serves, has ended and will be started again, or does not answer."""


class ClusterError(Exception):
    """The cluster cannot do what is asked for, or there is none. The message is one line for the command's user."""


@dataclasses.dataclass(frozen=True)
class ServerSpec:
    """How a server is started.

    Attributes:
        repository: Folder with the models, at this path on every node.
        options: Options of `rnnserve serve`, without host and port.
        port: Port for gRPC, the same on every node.
        revision: Number of the update that brought this, from 1.
    """

    repository: str
    options: tuple[str, ...] = ()
    port: int = 8001
    revision: int = 1

    def command(self, host: str) -> list[str]:
        """The arguments of `rnnserve`."""
        return ["serve", *self.options, "--host", host, "--grpc-port", str(self.port), "--", self.repository]

    def command_of_proof(self, host: str) -> list[str]:
        """The arguments of `rnnserve` for a second server on the same node, at free ports."""
        names = {option.partition("=")[0] for option in self.options}
        free = ["--http-port", "0"] if "--http-port" in names else ["--no-http"]
        if "--metrics-port" in names:
            free += ["--metrics-port", "0"]
        return ["serve", *self.options, *free, "--host", host, "--grpc-port", "0", "--", self.repository]


@dataclasses.dataclass(frozen=True)
class ServerReport:
    """What is known of one server.

    Attributes:
        address: `host:port`, empty for a server that does not answer.
        state: What it does.
        spec: How it is started, or None for a server that does not answer.
        said: The last line that it wrote, if it does not serve.
        starts: How often it has been started on its node.
    """

    address: str
    state: ServerState
    spec: ServerSpec | None = None
    said: str = ""
    starts: int = 0


@dataclasses.dataclass(frozen=True)
class FleetStatus:
    """What is known of all servers of one name: the report of each place, from 0."""

    name: str
    reports: Mapping[int, ServerReport]

    @property
    def endpoints(self) -> list[str]:
        """Addresses of the servers that serve."""
        return [report.address for report in self.reports.values() if report.state == "ready"]

    @property
    def spec(self) -> ServerSpec | None:
        """The newest spec of the servers that answer."""
        specs = [report.spec for report in self.reports.values() if report.spec is not None]
        return max(specs, key=lambda spec: spec.revision, default=None)
