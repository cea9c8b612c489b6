"""The models of a repository: which versions there are, which serve, and why the others do not.

::

    <repository>/<model>/config.pbtxt
                        /<version>/model.onnx, model.pt, golden.npz, manifest.json

A version serves after its digests held and its golden results came out right on this machine's provider. One that fails
stays out, with the reason in its status, and the version before it serves.
"""

import dataclasses
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from rnnserve.protos import model_config_pb2
from rnnserve.protos.artifact import ArtifactError
from rnnserve.protos.names import version_number
from rnnserve.protos.triton_config import check_tensors, read_config, versions_to_serve
from rnnserve.server.errors import NotFound, NotReady, StartError, one_line, quoted
from rnnserve.server.repository.loading import load_model
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
    """The models in a folder. One thread calls `load`; any thread asks.

    Attributes:
        generation: Increased whenever what serves has changed: what was cached of it is out of date then.
    """

    def __init__(self, root: Path, device: str, *, allow_unproven: bool = False, pins: Pins | None = None) -> None:
        """Look which models there are; `load` makes them ready.

        Args:
            root: The repository's folder.
            device: "cpu" or "cuda".
            allow_unproven: Serve versions, too, that were adopted from an ONNX file and not proven.
            pins: What another worker serves: no other versions are looked at. None for what the folder holds.

        Raises:
            StartError: If there is no such folder, or no model in it.
        """
        self._root = root
        self._device = device
        self._allow_unproven = allow_unproven
        self.generation = 0
        if not root.is_dir():
            raise StartError(f"there is no folder {root}; `rnnserve export` makes one (or `make export`)")
        folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
        if not folders:
            raise StartError(f"no model lies in {root}; `rnnserve export` publishes some (or `make export`)")
        self._pins = pins
        if pins is None:
            self._entries = {path.name: _entry_of(path) for path in folders}
        else:
            self._entries = {name: _pinned_entry(model) for name, model in pins.items()}

    def load(self) -> None:
        """Load and prove the versions that the configs choose, model after model.

        Raises:
            StartError: If no version may serve; the message has the reasons, a line each.
        """
        for name, entry in self._entries.items():
            try:
                self._load(name, entry)
            except StartError:
                raise
            except Exception as error:  # noqa: BLE001 - one model's folder must not keep the others out
                entry.reason = _reason(error)
                entry.versions = dict.fromkeys(entry.versions, Status(UNAVAILABLE, entry.reason))
                _log.error("%s: %s", name, entry.reason, exc_info=_unforeseen(error))
        if not any(entry.served for entry in self._entries.values()):
            reasons = "\n".join(f"  {self._why_not(name)}" for name in self._entries)
            raise StartError(f"no model in {self._root} may serve:\n{reasons}")

    def _load(self, name: str, entry: _Entry) -> None:
        if entry.reason:
            raise ArtifactError(entry.reason)
        folder = self._root / name
        if not entry.versions:
            raise ArtifactError("has no versions, folders named 1, 2, …")
        config = read_config(folder)
        candidates, wanted = self._chosen(name, entry, config)
        for version in candidates:
            if len(entry.served) == wanted:
                entry.versions[version] = Status(UNAVAILABLE, "a newer version serves")
                continue
            try:
                model = load_model(
                    folder / str(version), name, str(version), self._device, allow_unproven=self._allow_unproven
                )
                check_tensors(config, model.manifest.inputs, model.manifest.outputs)
                self._check_pin(name, version, model)
            except StartError:
                raise
            except Exception as error:  # noqa: BLE001 - one version must not keep the others out, whatever it does
                reason = _reason(error)
                entry.versions[version] = Status(UNAVAILABLE, reason)
                _log.error("%s version %d stays out: %s", name, version, reason, exc_info=_unforeseen(error))
                continue
            entry.served[version] = ServedVersion(model, config)
            entry.versions[version] = Status(READY)
            self.generation += 1
            _log.info("%s version %d is ready on %s: its golden results hold", name, version, model.device)

    def _chosen(self, name: str, entry: _Entry, config: model_config_pb2.ModelConfig) -> tuple[list[int], int]:
        """Give the versions to try, the best one first, and how many of them are to serve."""
        if self._pins is not None:
            pinned = [version for version, pin in self._pins[name].versions.items() if pin.digest]
            return sorted(pinned, reverse=True), len(pinned)
        candidates, wanted = versions_to_serve(config, list(entry.versions))
        for version in entry.versions:
            if version not in candidates:
                entry.versions[version] = Status(UNAVAILABLE, "not chosen by version_policy in config.pbtxt")
        return candidates, wanted

    def _check_pin(self, name: str, version: int, model: Model) -> None:
        if self._pins is not None and model.manifest.self_sha256 != self._pins[name].versions[version].digest:
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
            version: A number as text; empty for the newest that serves.

        Raises:
            NotFound: If the repository has no such model or version.
            NotReady: If it has, but it does not serve.
        """
        entry = self._entry(name)
        if not version:
            if not entry.served:
                raise NotReady(self._why_not(name))
            return entry.served[max(entry.served)]
        number = next((known for known in entry.versions if str(known) == version), None)
        if number is None:
            known = ", ".join(str(v) for v in sorted(entry.versions)) or "none"
            raise NotFound(f'model "{name}" has no version {quoted(version)}; it has {known}')
        if number not in entry.served:
            raise NotReady(self._why_not(name, number))
        return entry.served[number]

    def versions(self, name: str) -> list[str]:
        """Name the versions that serve, oldest first.

        Raises:
            NotFound: If the repository has no such model.
        """
        return [str(version) for version in sorted(self._entry(name).served)]

    def is_served(self, name: str, version: str = "") -> bool:
        """Whether a model, or one version of it, serves.

        Raises:
            NotFound: If the repository has no such model or version.
        """
        try:
            self.find(name, version)
        except NotReady:
            return False
        return True

    def is_ready(self) -> bool:
        """Whether every model of the repository serves."""
        return all(entry.served for entry in self._entries.values())

    def served(self) -> list[ServedVersion]:
        """Give every version that serves."""
        return [served for entry in self._entries.values() for _, served in sorted(entry.served.items())]

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
    """A model's versions as another worker has them: those that it serves are to be loaded."""
    statuses = {
        version: Status(LOADING) if pin.digest else Status(UNAVAILABLE, pin.reason)
        for version, pin in pins.versions.items()
    }
    return _Entry(statuses, {}, pins.reason)


def _reason(error: Exception) -> str:
    """Say in one line why something cannot be loaded; statuses are sent to clients, so without paths."""
    if isinstance(error, ArtifactError):
        return " ".join(str(error).split())
    return f"cannot be loaded: {type(error).__name__}: {one_line(str(error))}"


def _unforeseen(error: Exception) -> Exception | None:
    """The error where its traceback belongs into the log: where it is not one that loading is known to raise."""
    return None if isinstance(error, ArtifactError) else error


def _versions_in(folder: Path) -> list[int]:
    """The numbers of the versions in a model's folder, ascending."""
    numbers = [version_number(path.name) for path in folder.iterdir() if path.is_dir()]
    return sorted(number for number in numbers if number is not None)
