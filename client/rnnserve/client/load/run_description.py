"""What identifies a load test's results: when, where, and what was sent."""

from dataclasses import dataclass

from rnnserve.client.load.server_inspector import ServerIdentity
from rnnserve.client.metadata import ModelMetadata

__all__ = ["RunDescription"]


@dataclass(frozen=True)
class RunDescription:
    """What identifies a load test's results.

    Attributes:
        started: Start time, ISO 8601 with the offset from UTC.
        command: The command line.
        address: The server's `host:port`.
        server: The server's name and version.
        models: Metadata of the models that were called.
        machine: The generator's machine and package versions, as text by name.
        workload: Settings of the workload, as text by name.
    """

    started: str
    command: str
    address: str
    server: ServerIdentity
    models: tuple[ModelMetadata, ...]
    machine: dict[str, str]
    workload: dict[str, str]
