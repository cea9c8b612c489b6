"""What results belong to: when, where, what was asked."""

from dataclasses import dataclass

from rnnserve.client.load.discovery import ServerDescription
from rnnserve.client.metadata import ModelMetadata

__all__ = ["Context"]


@dataclass(frozen=True)
class Context:
    """What results belong to.

    Attributes:
        started: When, as ISO 8601 with the offset from UTC.
        command: The command line.
        address: The server's `host:port`.
        server: What it says of itself.
        models: Those asked.
        machine: What the generator ran on, as text by name.
        workload: Settings of what was asked, as text by name.
    """

    started: str
    command: str
    address: str
    server: ServerDescription
    models: tuple[ModelMetadata, ...]
    machine: dict[str, str]
    workload: dict[str, str]
