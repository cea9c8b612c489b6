"""What is placed on a cluster, what is told of it, and what supervision needs of whatever runs it."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Protocol

__all__ = ["FleetPlan", "FleetStatus", "Nodes", "RollState", "ServerReport", "ServerSpec", "ServerState"]

ServerState = Literal["starting", "ready", "ended", "lost"]
"""Whether it loads and proves its models, serves, has ended and is to be started again, or does not answer."""


@dataclasses.dataclass(frozen=True)
class ServerSpec:
    """How each server is started.

    Attributes:
        repository: Folder with the models, at this path on every node.
        options: Options of `rnnserve serve`, but for host and port.
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
        """The same beside a server that runs: at ports that are free."""
        names = {option.partition("=")[0] for option in self.options}
        free = ["--http-port", "0"] if "--http-port" in names else ["--no-http"]
        if "--metrics-port" in names:
            free += ["--metrics-port", "0"]
        return ["serve", *self.options, *free, "--host", host, "--grpc-port", "0", "--", self.repository]


@dataclasses.dataclass(frozen=True)
class FleetPlan:
    """What there is to be.

    Attributes:
        name: Name of these servers in the cluster.
        replicas: How many there are to be, each on a node of its own.
        spec: How each is started.
        endpoints: File on every node of a server that lists those that serve; empty for none.
    """

    name: str
    replicas: int
    spec: ServerSpec
    endpoints: str = ""


@dataclasses.dataclass(frozen=True)
class ServerReport:
    """What is known of one server.

    Attributes:
        address: `host:port`; empty of one that does not answer.
        state: What it does.
        spec: How it is started.
        said: What it said last, where it does not serve.
        starts: How often it has been started on its node.
        listed: What its node's file of endpoints lists.
        alone: Seconds for which its node goes on when the head of the cluster is lost; None where that is not known.
    """

    address: str
    state: ServerState
    spec: ServerSpec
    said: str = ""
    starts: int = 0
    listed: tuple[str, ...] = ()
    alone: float | None = None


@dataclasses.dataclass(frozen=True)
class RollState:
    """How far a rolling update is.

    Attributes:
        lines: What has happened so far.
        is_over: Whether it has ended.
        failed: Why it has ended early; empty where it has not.
    """

    lines: tuple[str, ...] = ()
    is_over: bool = True
    failed: str = ""


@dataclasses.dataclass(frozen=True)
class FleetStatus:
    """What is known of all servers.

    Attributes:
        plan: What there is to be.
        reports: Of each place, from 0, what is known of its server.
        endpoints: Addresses of those that serve.
        roll: The rolling update that is under way, or the last one.
    """

    plan: FleetPlan
    reports: Mapping[int, ServerReport]
    endpoints: tuple[str, ...]
    roll: RollState


class Nodes(Protocol):
    """What runs servers on nodes, each under a name of its own."""

    def found(self) -> list[str]:
        """Give the names of the servers that there are."""

    def start(self, place: int, name: str, spec: ServerSpec) -> None:
        """Have a server started at a place, now or when there is a node for it."""

    def reports(self, names: Iterable[str], seconds: float) -> dict[str, ServerReport]:
        """Ask servers; give the reports of those that answer in time."""

    def is_gone(self, name: str) -> bool:
        """Whether a server is gone for good, so that another is to be started."""

    def prove(self, name: str, spec: ServerSpec) -> str:
        """Try on a server's node whether another would serve; give why not, empty if it would."""

    def stop(self, name: str) -> None:
        """Let a server end: its clients are told, and requests in progress are answered."""

    def publish(self, names: Iterable[str], endpoints: Sequence[str]) -> None:
        """Have the file of endpoints written on servers' nodes."""
