"""What is known of a model of a repository: the status of each version, and those that serve."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path

from rnnserve.protos import model_config_pb2
from rnnserve.protos.signing.signed_version import Signed
from rnnserve.server.repository.folders import version_numbers
from rnnserve.server.repository.model import Model
from rnnserve.server.repository.model_state import ModelState

__all__ = [
    "LOADING",
    "NOT_LOADED",
    "READY",
    "UNAVAILABLE",
    "Entry",
    "ServedVersion",
    "Status",
    "entry_of",
    "unloaded",
]

LOADING, READY, UNAVAILABLE = "LOADING", "READY", "UNAVAILABLE"

NOT_LOADED = "is not loaded; RepositoryModelLoad loads it"


@dataclasses.dataclass(frozen=True)
class Status:
    """Whether a version serves.

    Attributes:
        state: `LOADING`, `READY` or `UNAVAILABLE`, as in Triton's repository index.
        reason: Why it is unavailable, or why what its folder holds now does not serve in its place, or what its runs
            have shown to be wrong with it; empty otherwise.
        is_fault: Whether something is wrong with its files: it was to serve.
    """

    state: str
    reason: str = ""
    is_fault: bool = dataclasses.field(default=False, compare=False)


@dataclasses.dataclass(frozen=True, eq=False)
class ServedVersion:
    """A version that serves. Compared by identity, so that it can be a key.

    Attributes:
        model: What runs.
        config: Its config.pbtxt.
        signed: Who has signed what of it; None where that was not asked.
    """

    model: Model
    config: model_config_pb2.ModelConfig
    signed: Signed | None = None

    @functools.cached_property
    def of_sequences(self) -> "ServedVersion":
        """The same version for parts of sequences: on the graph that has their states, where that is another one."""
        return self if self.model.parts is None else ServedVersion(self.model.parts, self.config, self.signed)

    @property
    def models(self) -> list[Model]:
        """All that may run of it."""
        return [self.model] if self.model.parts is None else [self.model, self.model.parts]

    @property
    def faults(self) -> list[str]:
        """What has shown while it served that its manifest is wrong."""
        return [fault for model in self.models for fault in model.faults]


@dataclasses.dataclass(frozen=True)
class Entry:
    """What is known of a model. It never changes: `dataclasses.replace` makes another one.

    Attributes:
        versions: Status of each version, by number.
        served: Those that serve, by number.
        reason: Why no version could be tried; empty otherwise.
        is_wanted: Whether its versions are to be loaded.
        is_needed: Whether the model counts where it is asked whether the server is ready. One that was added while
            others served does not, until it has served.
    """

    versions: Mapping[int, Status]
    served: Mapping[int, ServedVersion]
    reason: str = ""
    is_wanted: bool = True
    is_needed: bool = True

    @property
    def in_short(self) -> ModelState:
        """What becomes of the model."""
        statuses = self.versions.items()
        return ModelState(
            sorted(self.served),
            sorted(version for version, status in statuses if status.is_fault),
            any(status.state == LOADING for _, status in statuses),
        )


def entry_of(folder: Path, serving: Mapping[int, ServedVersion]) -> Entry:
    """Look which versions a model's folder holds: they are to be loaded.

    Args:
        folder: Folder of the model.
        serving: The versions that serve it, and serve on where the folder cannot be read.
    """
    try:
        return Entry(dict.fromkeys(version_numbers(folder), Status(LOADING)), {})
    except OSError as error:
        reason = f"its folder cannot be read: {error.strerror}"
        kept = Status(READY, f"was loaded before; {reason}")
        return Entry(dict.fromkeys(serving, kept), dict(serving), reason)


def unloaded(entry: Entry) -> Entry:
    """The entry of the same model, where its versions are not loaded."""
    versions = dict.fromkeys(entry.versions, Status(UNAVAILABLE, NOT_LOADED))
    return Entry(versions, {}, NOT_LOADED, is_wanted=False, is_needed=False)
