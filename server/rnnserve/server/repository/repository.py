"""The models of a repository: which versions there are, which serve, and why the others do not.

::

    <repository>/<model>/config.pbtxt
                        /<version>/model.onnx, model.pt, golden.npz, manifest.json

A version serves after its digests held and its golden results came out right on this machine's provider, which the
loader finds out. One that fails stays out, with the reason in its status, and the version before it serves.
"""

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from rnnserve.protos import model_config_pb2
from rnnserve.protos.artifact import ArtifactError
from rnnserve.protos.names import version_number
from rnnserve.protos.triton_config import versions_to_serve
from rnnserve.server.errors import NotFound, NotReady, StartError, quoted
from rnnserve.server.repository.model import Model
from rnnserve.server.repository.pins import ModelPins, Pin, Pins

__all__ = ["LOADING", "READY", "UNAVAILABLE", "Repository", "ServedVersion", "Status"]

_log = logging.getLogger(__name__)

LOADING, READY, UNAVAILABLE = "LOADING", "READY", "UNAVAILABLE"


@dataclasses.dataclass(frozen=True)
class Status:
    """Whether a version serves.

    Attributes:
        state: `LOADING`, `READY` or `UNAVAILABLE`, as in Triton's repository index.
        reason: Why it is unavailable; empty otherwise.
    """

    state: str
    reason: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class ServedVersion:
    """A version that serves. Compared by identity, so that it can be a key.

    Attributes:
        model: What runs.
        config: Its config.pbtxt.
    """

    model: Model
    config: model_config_pb2.ModelConfig


@dataclasses.dataclass
class _Entry:
    """A model's folder.

    Attributes:
        versions: Status of each version, by number.
        served: Those that serve, by number.
        reason: Why no version could be tried; empty otherwise.
    """

    versions: dict[int, Status]
    served: dict[int, ServedVersion]
    reason: str = ""


class Repository:
    """The models in a folder. One thread, the loader's, changes what serves; any thread asks.

    Attributes:
        generation: Increased whenever what serves has changed: what was cached of it is out of date then.
    """

    def __init__(self, root: Path, pins: Pins | None = None) -> None:
        """Look which models there are; a `Loader` makes them ready.

        Args:
            root: The repository's folder.
            pins: What another worker serves: no other versions are looked at. None for what the folder holds.

        Raises:
            StartError: If there is no such folder, it cannot be read, or no model is in it.
        """
        self._root = root
        self.generation = 0
        if not root.is_dir():
            raise StartError(f"there is no folder {root}; `rnnserve export` makes one (or `make export`)")
        try:
            folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
        except OSError as error:
            raise StartError(f"the folder {root} cannot be read: {error.strerror}") from error
        for path in folders:
            if not path.name.isprintable():
                _log.error("%a is left out: no client could ask for a model of this name", path.name)
        self._pins = pins
        if pins is None:
            self._entries = {path.name: _entry_of(path) for path in folders if path.name.isprintable()}
        else:
            self._entries = {name: _pinned_entry(model) for name, model in pins.items()}
        if not self._entries:
            raise StartError(f"no model lies in {root}; `rnnserve export` publishes some (or `make export`)")

    def models(self) -> list[str]:
        """Name the models, in order."""
        return list(self._entries)

    def folder(self, name: str) -> Path:
        """Give a model's folder."""
        return self._root / name

    def found(self, name: str) -> list[int]:
        """Give the numbers of the versions that a model's folder has, oldest first.

        Raises:
            ArtifactError: If it has none, or cannot be read.
        """
        entry = self._entries[name]
        if entry.reason or not entry.versions:
            raise ArtifactError(entry.reason or "has no versions, folders named 1, 2, …")
        return list(entry.versions)

    def newest(self, name: str, count: int) -> list[int]:
        """Give the numbers of the newest versions of a model that serve, newest first, `count` at most."""
        return sorted(self._entries[name].served, reverse=True)[:count]

    def serve(self, version: ServedVersion) -> None:
        """Let a version serve from now on."""
        model = version.model
        self._set(model.name, int(model.version), Status(READY), version)

    def refuse(self, name: str, version: int, reason: str) -> None:
        """Let a version not serve, or no more, and say why."""
        self._set(name, version, Status(UNAVAILABLE, reason), None)

    def refuse_all(self, name: str, reason: str) -> None:
        """Let no version of a model serve, and say why."""
        self._entries[name].reason = reason
        for version in self._entries[name].versions:
            self.refuse(name, version, reason)

    def _set(self, name: str, version: int, status: Status, served: ServedVersion | None) -> None:
        """Replace what is known of a version. Other threads read meanwhile, so that dicts are replaced, not changed."""
        entry = self._entries[name]
        others = {number: other for number, other in entry.served.items() if number != version}
        changes = served is not None or version in entry.served
        entry.served = others if served is None else {**others, version: served}
        entry.versions = {**entry.versions, version: status}
        self.generation += changes

    def chosen(self, name: str, config: model_config_pb2.ModelConfig) -> tuple[list[int], int]:
        """Give the versions of a model to try, newest first, and how many of them are to serve.

        They are those that its config chooses; or those that another worker serves, or was still loading.

        Args:
            name: The model's.
            config: Its config.pbtxt.
        """
        if self._pins is None:
            chosen, wanted = versions_to_serve(config, self.found(name))
            for version in set(self.found(name)) - set(chosen):
                self.refuse(name, version, "not chosen by version_policy in config.pbtxt")
            return chosen, wanted
        pinned = {number: pin for number, pin in self._pins[name].versions.items() if not pin.reason}
        wanted = len(pinned)
        if not all(pin.digest for pin in pinned.values()):
            wanted = versions_to_serve(config, sorted(pinned))[1]
        return sorted(pinned, reverse=True), wanted

    def check_pin(self, model: Model) -> None:
        """Check that a version is the one that other workers serve.

        Raises:
            ArtifactError: If it was published anew since.
        """
        if self._pins is None:
            return
        digest = self._pins[model.name].versions[int(model.version)].digest
        if digest and model.manifest.self_sha256 != digest:
            raise ArtifactError("was published anew after the other workers had loaded it; SIGHUP restarts them all")

    def pins(self) -> Pins:
        """What another worker needs to serve the same."""
        return {
            name: ModelPins(
                {
                    version: Pin(entry.served[version].model.manifest.self_sha256)
                    if version in entry.served
                    else Pin("", status.reason)
                    for version, status in entry.versions.items()
                },
                entry.reason,
            )
            for name, entry in self._entries.items()
        }

    def find(self, name: str, version: str = "") -> ServedVersion:
        """Find what serves a model.

        Args:
            name: The model.
            version: A number as text, of which leading zeros count for nothing; empty for the newest that serves.

        Raises:
            NotFound: If the repository has no such model or version.
            NotReady: If it has, but it does not serve.
        """
        entry = self._entry(name)
        if not version:
            if not entry.served:
                raise NotReady(self._why_not(name))
            return entry.served[max(entry.served)]
        digits = version.lstrip("0")
        number = next((known for known in entry.versions if str(known) == digits), None)
        if number is None:
            known = ", ".join(str(v) for v in sorted(entry.versions)) or "none"
            raise NotFound(f'model "{name}" has no version {quoted(version)}; it has {known}')
        if number not in entry.served:
            raise NotReady(self._why_not(name, number))
        return entry.served[number]

    def with_digest(self, name: str, digest: str) -> ServedVersion | None:
        """Find the version of a model whose manifest has this `self_sha256`, if it serves.

        Raises:
            NotFound: If the repository has no such model.
        """
        served = self._entry(name).served.values()
        return next((version for version in served if version.model.manifest.self_sha256 == digest), None)

    def versions(self, name: str) -> list[str]:
        """Name the versions that serve, oldest first.

        Raises:
            NotFound: If the repository has no such model.
        """
        return [str(version) for version in sorted(self._entry(name).served)]

    def is_served(self, name: str, version: str = "") -> bool:
        """Whether a model, or one version of it, serves; False for one that is not known."""
        try:
            self.find(name, version)
        except (NotFound, NotReady):
            return False
        return True

    def is_ready(self) -> bool:
        """Whether every model of the repository serves, and no version is still to be loaded."""
        return all(
            entry.served and all(status.state != LOADING for status in entry.versions.values())
            for entry in self._entries.values()
        )

    def is_loading(self) -> bool:
        """Whether a version is still to be loaded, or is being loaded."""
        return any(
            status.state == LOADING for entry in list(self._entries.values()) for status in entry.versions.values()
        )

    def served(self) -> list[ServedVersion]:
        """Give every version that serves."""
        return [served for entry in self._entries.values() for _, served in sorted(entry.served.items())]

    def why_none(self) -> str:
        """Say that no model serves, and why, in a line for each."""
        reasons = "\n".join(f"  {self._why_not(name)}" for name in self._entries)
        return f"no model in {self._root} may serve:\n{reasons}"

    def statuses(self) -> Iterator[tuple[str, Mapping[int, Status]]]:
        """Give every model with the status of each of its versions."""
        for name, entry in self._entries.items():
            yield name, dict(sorted(entry.versions.items()))

    def _entry(self, name: str) -> _Entry:
        entry = self._entries.get(name)
        if entry is None:
            known = ", ".join(f'"{known}"' for known in self._entries)
            raise NotFound(
                f"no model is named {quoted(name)}; there are {known}"
                if name
                else f"model_name is empty; there are {known}"
            )
        return entry

    def _why_not(self, name: str, version: int | None = None) -> str:
        entry = self._entry(name)
        if entry.reason:
            return f'model "{name}" does not serve: {entry.reason}'
        statuses = entry.versions if version is None else {version: entry.versions[version]}
        said = "; ".join(
            f"version {number}: {status.reason or 'is loading'}" for number, status in sorted(statuses.items())
        )
        return f'model "{name}" does not serve: {said}'


def _entry_of(folder: Path) -> _Entry:
    """Look which versions a model's folder holds."""
    try:
        return _Entry(dict.fromkeys(_versions_in(folder), Status(LOADING)), {})
    except OSError as error:
        return _Entry({}, {}, f"its folder cannot be read: {error.strerror}")


def _pinned_entry(pins: ModelPins) -> _Entry:
    """A model's versions as another worker has them: those that it serves, or was loading, are to be loaded."""
    statuses = {
        version: Status(UNAVAILABLE, pin.reason) if pin.reason else Status(LOADING)
        for version, pin in pins.versions.items()
    }
    return _Entry(statuses, {}, pins.reason)


def _versions_in(folder: Path) -> list[int]:
    """The numbers of the versions in a model's folder, ascending."""
    numbers = [version_number(path.name) for path in folder.iterdir() if path.is_dir()]
    return sorted(number for number in numbers if number is not None)
