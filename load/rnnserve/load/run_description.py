"""What identifies a load test's results: when, where, and what was sent."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rnnserve.client import ModelMetadata
from rnnserve.load.server_inspector import ServerIdentity

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
        workload: Settings of the workload, as text by name, for people.
        repeatable: The whole workload by its options, from which `--repeat` sends it again.
    """

    started: str
    command: str
    address: str
    server: ServerIdentity
    models: tuple[ModelMetadata, ...]
    machine: dict[str, str]
    workload: dict[str, str]
    repeatable: Mapping[str, Any]
