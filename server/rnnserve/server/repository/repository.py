"""The models of a repository at one moment: which versions serve, and why the others don't.

::

    <repository>/<model>/config.pbtxt
                        /<version>/model.onnx, model.scan.onnx, model.pt, golden.npz, manifest.json
"""

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from rnnserve.protos import model_config_pb2
from rnnserve.protos.signing.signed_version import Signed
from rnnserve.server.errors import NotFound, NotReady, StartError, quoted
from rnnserve.server.repository.folders import ModelFolders, version_numbers
from rnnserve.server.repository.model import Model
from rnnserve.server.repository.model_state import ModelState

__all__ = ["LOADING", "NOT_LOADED", "READY", "UNAVAILABLE", "Entry", "Repository", "ServedVersion", "Status"]

_log = logging.getLogger(__name__)

LOADING, READY, UNAVAILABLE = "LOADING", "READY", "UNAVAILABLE"

NOT_LOADED = "is not loaded; RepositoryModelLoad loads it"


@dataclasses.dataclass(frozen=True)
class Status:
    """Whether a version serves: `LOADING`, `READY` or `UNAVAILABLE`, as in Triton's repository index.

    `reason` is why it doesn't serve, why its folder's current content doesn't, or the fault that a run has shown.
    `is_fault` is true if it should serve but its files are bad.
    """

    state: str
    reason: str = ""
    is_fault: bool = dataclasses.field(default=False, compare=False)


@dataclasses.dataclass(frozen=True, eq=False)
class ServedVersion:
    """A version that serves, with its config.pbtxt. Compared by identity, so that it can be a key."""

    model: Model
    config: model_config_pb2.ModelConfig
    signed: Signed | None = None  # its signature, or None if signatures aren't required

    @functools.cached_property
    def of_sequences(self) -> "ServedVersion":
        """The same version for parts of sequences: on the graph with their states, if it is another graph."""
        return self if self.model.parts is None else ServedVersion(self.model.parts, self.config, self.signed)

    @property
    def models(self) -> list[Model]:
        """All that may run of it."""
        return [self.model] if self.model.parts is None else [self.model, self.model.parts]

    @property
    def faults(self) -> list[str]:
        """The first error in service that showed a wrong manifest, or empty."""
        return [fault for model in self.models for fault in model.faults]


@dataclasses.dataclass(frozen=True)
class Entry:
    """A model's versions by number. Immutable: `dataclasses.replace` makes a changed copy."""

    versions: Mapping[int, Status]
    served: Mapping[int, ServedVersion] = dataclasses.field(default_factory=dict)
    reason: str = ""  # why no version could be checked
    is_wanted: bool = True  # whether its versions are to be loaded
    is_needed: bool = True  # for the server to be ready; one that was added later is, from when it serves

    @property
    def is_loading(self) -> bool:
        """Whether a version is still to be loaded, or is being loaded."""
        return any(status.state == LOADING for status in self.versions.values())

    def with_version(self, number: int, status: Status, served: ServedVersion | None = None) -> "Entry":
        """Return the entry with another status of a version, which serves unless `served` is None."""
        serving = {other: version for other, version in self.served.items() if other != number}
        if served is not None:
            serving[number] = served
        return dataclasses.replace(
            self,
            versions={**self.versions, number: status},
            served=serving,
            is_needed=self.is_needed or served is not None,
        )

    def unloaded(self) -> "Entry":
        """Return the entry of the same model while its versions are not loaded."""
        versions = dict.fromkeys(self.versions, Status(UNAVAILABLE, NOT_LOADED))
        return Entry(versions, reason=NOT_LOADED, is_wanted=False, is_needed=False)


class Repository:
    """The models in a folder. Only the loader's thread changes the served versions. Any thread can read them.

    It holds a reference to an immutable mapping of immutable entries. A change replaces the mapping, so each read
    describes one moment.

    `generation` increases with each change of the served versions, which invalidates caches. Until it `is_started` (the
    first load has ended), the server isn't ready while it loads.
    """

    def __init__(
        self,
        root: Path,
        *,
        only: str | None = None,
        wanted: Collection[str] | None = None,
        control: str = "none",
        ready: str = "any",
    ) -> None:
        """Find the models without loading them. `control` and `ready` are as in `Settings`.

        `only` names the model if the folder is a model's own, and is None for a repository. `wanted` names the models
        to load, or is None for all. Unless `control` is "none", the folder may be empty, and no link may lead out of
        it. Raises StartError.
        """
        self.folders = ModelFolders(root, only, may_change=control != "none")
        self.generation = 0
        self.is_started = False
        self._control = control
        self._ready = ready
        self._entries: Mapping[str, Entry] = {}
        if not root.is_dir():
            raise StartError(f"there is no folder {root}; create one with `rnnserve export` (or `make export`)")
        try:
            mistake, folders = self.folders.mistake(), self.folders.find()
        except OSError as error:
            raise StartError(f"cannot read the folder {root}: {error.strerror}") from error
        if mistake is not None:
            raise StartError(mistake)
        if not folders and control == "none":
            raise StartError(f"there are no models in {root}; publish some with `rnnserve export` (or `make export`)")
        for name in wanted or ():
            if name not in folders:
                known = ", ".join(folders) or "none"
                raise StartError(f"--load-model {name}: {root} has no model with this name; it has {known}")
        for name, folder in folders.items():
            if not name.isprintable():
                _log.error("Ignoring %a, because clients cannot request a model with this name", name)
                continue
            entry = Entry(dict.fromkeys(_known_versions(folder), Status(LOADING)))
            self.put(name, entry if wanted is None or name in wanted else entry.unloaded())

    def put(self, name: str, entry: Entry) -> None:
        """Replace a model's entry atomically."""
        before = self._entries.get(name)
        self._entries = dict(sorted({**self._entries, name: entry}.items()))
        self.generation += entry.served != (before.served if before is not None else {})

    def remove(self, name: str) -> None:
        """Forget a model whose folder is gone."""
        self._entries = {known: entry for known, entry in self._entries.items() if known != name}
        self.generation += 1

    def entry(self, name: str) -> Entry | None:
        """Return a model's entry, or None if there is no such model."""
        return self._entries.get(name)

    def models(self) -> list[str]:
        """Name the models to load, in order."""
        return [name for name, entry in self._entries.items() if entry.is_wanted]

    def find(self, name: str, version: str = "") -> ServedVersion:
        """Find a version by its number as text, or the newest that serves. Raises NotFound or NotReady."""
        entry = self._known(name)
        if not version:
            if not entry.served:
                raise NotReady(_why_not(name, entry, entry.versions))
            return entry.served[max(entry.served)]
        digits = version.lstrip("0")
        number = next((known for known in entry.versions if str(known) == digits), None)
        if number is None:
            known = ", ".join(str(v) for v in sorted(entry.versions)) or "none"
            raise NotFound(f'model "{name}" has no version {quoted(version)}; it has {known}')
        if number not in entry.served:
            raise NotReady(_why_not(name, entry, [number]))
        return entry.served[number]

    def with_digest(self, name: str, digest: str) -> ServedVersion | None:
        """Find the version of a model whose manifest has this `self_sha256`, if it serves. Raise NotFound as `find`."""
        served = self._known(name).served.values()
        return next((version for version in served if version.model.manifest.self_sha256 == digest), None)

    def versions(self, name: str) -> list[str]:
        """Name the versions that serve, oldest first. Raise NotFound as `find`."""
        return [str(version) for version in sorted(self._known(name).served)]

    def is_served(self, name: str, version: str = "") -> bool:
        """Whether a model, or one version of it, serves. False for an unknown model or version."""
        try:
            self.find(name, version)
        except (NotFound, NotReady):
            return False
        return True

    def is_ready(self) -> bool:
        """Whether any or all of the needed models serve, and none is still being loaded for the first time."""
        needed = [entry for entry in self._entries.values() if entry.is_needed]
        if not self.is_started and any(entry.is_loading for entry in needed):
            return False
        enough = any if self._ready == "any" and needed else all
        return enough(entry.served for entry in needed)

    def missing(self) -> list[str]:
        """Name the required models that don't serve."""
        return [name for name, entry in self._entries.items() if entry.is_needed and not entry.served]

    def is_loading(self) -> bool:
        """Whether a version is still to be loaded, or is being loaded."""
        return any(entry.is_loading for entry in self._entries.values())

    def served(self) -> list[ServedVersion]:
        """Return every version that serves."""
        return [served for entry in self._entries.values() for _, served in sorted(entry.served.items())]

    def why_none(self) -> str:
        """Explain that no model serves, in a line for each."""
        reasons = [f"  {_why_not(name, entry, entry.versions)}" for name, entry in self._entries.items()]
        return "\n".join([f"no model in {self.folders.root} can be served:", *reasons])

    def statuses(self) -> Iterator[tuple[str, Mapping[int, Status]]]:
        """Return the status of each version by model. If clients load models, include unloaded models."""
        entries = self._entries
        for name, entry in entries.items():
            faults = {number: fault for number, served in entry.served.items() for fault in served.faults}
            found = {number: Status(READY, faults[number]) for number in faults}
            yield name, dict(sorted({**entry.versions, **found}.items()))
        if self._control == "explicit":
            with contextlib.suppress(OSError):
                for name, folder in self.folders.find().items():
                    if name not in entries and name.isprintable():
                        yield name, dict.fromkeys(version_numbers(folder), Status(UNAVAILABLE, NOT_LOADED))

    def in_short(self) -> dict[str, ModelState]:
        """Return the state of each model to load, by name."""
        return {
            name: ModelState(
                sorted(entry.served),
                sorted(version for version, status in entry.versions.items() if status.is_fault),
                entry.is_loading,
            )
            for name, entry in self._entries.items()
            if entry.is_wanted
        }

    def _known(self, name: str) -> Entry:
        entries = self._entries
        entry = entries.get(name)
        if entry is None:
            known = ", ".join(f'"{known}"' for known in entries)
            raise NotFound(
                f"no model is named {quoted(name)}; there are {known}"
                if name
                else f"model_name is empty; there are {known}"
            )
        return entry


def _known_versions(folder: Path) -> list[int]:
    """List the versions of a model. The list is empty if its folder can't be read, which its load reports."""
    with contextlib.suppress(OSError):
        return version_numbers(folder)
    return []


def _why_not(name: str, entry: Entry, numbers: Iterable[int]) -> str:
    if entry.reason:
        return f'model "{name}" is not served: {entry.reason}'
    said = "; ".join(f"version {number}: {entry.versions[number].reason or 'is loading'}" for number in sorted(numbers))
    return f'model "{name}" is not served: {said}'
