"""The models of a repository: which versions there are, which serve, and why the others do not.

::

    <repository>/<model>/config.pbtxt
                        /<version>/model.onnx, model.scan.onnx, model.pt, golden.npz, manifest.json

A version serves after its digests held and its golden results came out right on this machine's provider, which the
loader finds out. One that fails stays out, with the reason in its status, and the version before it serves.

What serves changes as a whole: a draft of some models, as their folders are now, is loaded beside what serves, and
adopted when it is loaded.
"""

import contextlib
import logging
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from rnnserve.protos import model_config_pb2
from rnnserve.protos.artifact import ArtifactError, read_version
from rnnserve.protos.triton_config import CONFIG, versions_to_serve
from rnnserve.server.errors import LoadFailed, NotFound, NotReady, StartError, quoted
from rnnserve.server.repository.entries import (
    LOADING,
    NOT_LOADED,
    READY,
    UNAVAILABLE,
    Entry,
    ServedVersion,
    Status,
    entry_of,
    pinned_entry,
    unload,
)
from rnnserve.server.repository.folders import model_folders, version_numbers, way_out
from rnnserve.server.repository.model import Model
from rnnserve.server.repository.pins import ModelPins, Pin, Pins, digests

__all__ = ["LOADING", "READY", "UNAVAILABLE", "Repository", "ServedVersion", "Status"]

_log = logging.getLogger(__name__)


class Repository:
    """The models in a folder. One thread, the loader's, changes what serves; any thread asks.

    Attributes:
        root: Its folder.
        generation: Increased whenever what serves has changed: what was cached of it is out of date then.
    """

    def __init__(
        self,
        root: Path,
        pins: Pins | None = None,
        *,
        wanted: Collection[str] | None = None,
        control: str = "none",
        ready: str = "any",
        beside: "Repository | None" = None,
    ) -> None:
        """Look which models there are; a `Loader` makes them ready.

        Args:
            root: The repository's folder.
            pins: What another worker serves: no other versions are looked at. None for what the folder holds.
            wanted: The names of the models to load; None for all.
            control: What changes what serves: "none", "poll" or "explicit", as in `Settings`. Where anything does, the
                folder may be empty, and no link may lead out of it.
            ready: What makes the server as a whole ready: "any" or "all" of its models, as in `Settings`.
            beside: What serves while this one, a draft of the models wanted, is loaded.

        Raises:
            StartError: If there is no such folder, it cannot be read, or no model is in it; or it does not have a model
                that is wanted.
        """
        self.root = root
        self._control = control
        self._ready = ready
        self._beside = beside
        self._draft: Repository | None = None
        self._pins = pins
        self.generation = 0
        if not root.is_dir():
            raise StartError(f"there is no folder {root}; `rnnserve export` makes one (or `make export`)")
        try:
            folders = model_folders(root)
        except OSError as error:
            raise StartError(f"the folder {root} cannot be read: {error.strerror}") from error
        if pins is not None:
            self._entries = {name: pinned_entry(model) for name, model in pins.items()}
        else:
            self._entries = {}
            for name, path in folders.items():
                if beside is not None and wanted is not None and name not in wanted:
                    continue
                if name.isprintable():
                    self._entries[name] = entry_of(path, self._serving(name))
                else:
                    _log.error("%a is left out: no client could ask for a model of this name", name)
        if beside is not None or pins is not None:
            return
        if not self._entries and control == "none":
            raise StartError(f"no model lies in {root}; `rnnserve export` publishes some (or `make export`)")
        for name in wanted or ():
            if name not in self._entries:
                known = ", ".join(self._entries) or "none"
                raise StartError(f"--load-model {name}: {root} has no model of this name; it has {known}")
        for name, entry in self._entries.items():
            if wanted is not None and name not in wanted:
                unload(entry)

    def draft(self, names: Collection[str], pins: Pins | None = None) -> "Repository":
        """Look at some models again: a repository of these alone, to be loaded beside this one, and adopted.

        Args:
            names: The models; those that have no folder are not in the draft.
            pins: What another worker serves of them; None for what the folder holds.

        Raises:
            StartError: If the repository's folder cannot be read.
        """
        pinned = None if pins is None else {name: pins[name] for name in sorted(names) if name in pins}
        return Repository(self.root, pinned, wanted=names, control=self._control, ready=self._ready, beside=self)

    def settle(self, draft: "Repository") -> None:
        """Settle, after a draft has been loaded, whether this server needs its models to be ready."""
        for name, entry in draft._entries.items():  # noqa: SLF001 - of its own class
            before = self._entries.get(name)
            entry.is_needed = bool(entry.served) or (entry.is_wanted and before is not None and before.is_needed)

    def draft_without(self, name: str) -> "Repository":
        """Give a draft in which a model does not serve, until it is loaded again.

        Raises:
            StartError: If the repository's folder cannot be read.
        """
        draft = self.draft([name])
        for entry in draft._entries.values():  # noqa: SLF001 - of its own class
            unload(entry)
        return draft

    @contextlib.contextmanager
    def showing(self, draft: "Repository") -> Iterator[None]:
        """Show in `statuses` what a draft loads."""
        self._draft = draft
        try:
            yield
        finally:
            self._draft = None

    def adopt(self, draft: "Repository", names: Collection[str]) -> None:
        """Let what a draft has loaded serve, from one moment to the next.

        Args:
            draft: Of this repository, loaded and settled.
            names: What it was made of: models that it does not have are removed.
        """
        others = {name: entry for name, entry in self._entries.items() if name not in names}
        self._entries = dict(sorted({**others, **draft._entries}.items()))  # noqa: SLF001 - of its own class
        self.generation += 1

    def has(self, name: str) -> bool:
        """Whether there is a model of this name, loaded or not."""
        return name in self._entries

    def has_folder(self, name: str) -> bool:
        """Whether a folder of the repository has this name now.

        Raises:
            LoadFailed: If the repository's folder cannot be read.
        """
        try:
            return name.isprintable() and name in model_folders(self.root)
        except OSError as error:
            raise LoadFailed(f"the repository's folder cannot be read: {error.strerror}") from error

    def need_not_serve(self, name: str) -> None:
        """Let the server be ready without a model, whose folder has gone."""
        self._entries[name].is_needed = False

    def in_words(self, name: str) -> str:
        """Say which versions of a model serve."""
        versions = [] if name not in self._entries else sorted(self._entries[name].served)
        return f"serves with version {', '.join(map(str, versions))}" if versions else "does not serve"

    def models(self) -> list[str]:
        """Name the models that are to be loaded, in order."""
        return [name for name, entry in self._entries.items() if entry.is_wanted]

    @property
    def inside(self) -> Path | None:
        """The folder in which files that are read have to lie, after all links; None: anywhere.

        What serves changes only with `control` other than "none"; then whoever may write to the repository must not
        have the server read other files.
        """
        return None if self._control == "none" else self.root

    def folder(self, name: str) -> Path:
        """Give a model's folder."""
        return self.root / name

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

    def leave_out(self, name: str, version: int, reason: str) -> None:
        """Let a version not serve, or no more, though nothing is wrong with it, and say why."""
        self._set(name, version, Status(UNAVAILABLE, reason), None)

    def refuse(self, name: str, version: int, reason: str) -> None:
        """Let a version not serve, and say why. Where one of its number serves, that serves on."""
        served = self._serving(name).get(version)
        if served is None:
            self._set(name, version, Status(UNAVAILABLE, reason), None)
        else:
            self._set(name, version, Status(READY, f"was loaded before; what its folder holds now: {reason}"), served)

    def refuse_all(self, name: str, reason: str) -> None:
        """Let no version of a model serve, but for those that do, and say why."""
        self._entries[name].reason = reason
        for version in self._entries[name].versions:
            self.refuse(name, version, reason)

    def loaded_before(self, name: str, version: int) -> Model | None:
        """Give what serves, if it is what a version's folder holds now: it need not be loaded again.

        Raises:
            ArtifactError: If the folder's files cannot be trusted.
        """
        served = self._serving(name).get(version)
        if served is None:
            return None
        self.check_links(name, version)
        found = read_version(self.root / name / str(version), keep=(), inside=self.inside).manifest.self_sha256
        return served.model if found == served.model.manifest.self_sha256 else None

    def check_links(self, name: str, version: int | None = None) -> None:
        """Check that no link in a model's folder, or in a version's, leads out of the repository.

        This names the link. A link may be made after it: each file is checked once more when it is open (`inside`).

        Raises:
            ArtifactError: If one does, or the folder cannot be read.
        """
        if self.inside is None:
            return
        try:
            out = way_out(self.root, self.root / name if version is None else self.root / name / str(version))
        except OSError as error:
            raise ArtifactError(f"its folder cannot be read: {error.strerror}") from error
        if out is not None:
            raise ArtifactError(f"{out}: is a link that leads out of the repository")

    def _serving(self, name: str) -> Mapping[int, ServedVersion]:
        """What serves a model, where the draft is loaded beside something."""
        entry = None if self._beside is None else self._beside._entries.get(name)  # noqa: SLF001 - of its own class
        return {} if entry is None else entry.served

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

        Raises:
            ArtifactError: If the config chooses none.
        """
        if self._pins is None:
            chosen, wanted = versions_to_serve(config, self.found(name))
            if not chosen:
                raise ArtifactError(
                    f"{CONFIG}: version_policy names no version that its folder has; it has "
                    f"{', '.join(map(str, self.found(name)))}"
                )
            for version in set(self.found(name)) - set(chosen):
                self.leave_out(name, version, "not chosen by version_policy in config.pbtxt")
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

    def pins_with(self, draft: "Repository", names: Collection[str]) -> Pins:
        """What another worker needs to serve the same as this one, once this one has adopted a draft of some models."""
        others = {name: model for name, model in self.pins().items() if name not in names}
        return dict(sorted({**others, **draft.pins()}.items()))

    def pins(self) -> Pins:
        """What another worker needs to serve the same."""
        return {
            name: ModelPins(
                {
                    version: _pin(entry.served[version].model) if version in entry.served else Pin("", status.reason)
                    for version, status in entry.versions.items()
                },
                entry.reason,
                is_needed=entry.is_needed,
            )
            for name, entry in self._entries.items()
        }

    def serves(self, pins: Pins) -> bool:
        """Whether it serves the versions, with the digests, that another worker serves of its models."""
        return all(digests(model) == digests(pins[name]) for name, model in self.pins().items() if name in pins)

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
        """Whether no version of a model that is needed is still to be loaded, and any or all of these models serve."""
        needed = [entry for entry in self._entries.values() if entry.is_needed]
        if any(status.state == LOADING for entry in needed for status in entry.versions.values()):
            return False
        enough = any if self._ready == "any" and needed else all
        return enough(entry.served for entry in needed)

    def missing(self) -> list[str]:
        """Name the models that are needed and do not serve."""
        return [name for name, entry in self._entries.items() if entry.is_needed and not entry.served]

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
        return f"no model in {self.root} may serve:\n{reasons}"

    def statuses(self) -> Iterator[tuple[str, Mapping[int, Status]]]:
        """Give every model with the status of each of its versions; those that are being loaded beside others, too."""
        draft, entries = self._draft, self._entries
        drafted = {} if draft is None else draft._entries  # noqa: SLF001 - of its own class
        for name in sorted({*entries, *drafted}):
            versions = entries[name].versions if name in entries else {}
            loading = drafted[name].versions if name in drafted else {}
            added = {number: Status(LOADING) for number in loading if number not in versions}
            yield name, dict(sorted({**versions, **added}.items()))
        if self._control == "explicit":
            yield from self._not_loaded({*entries, *drafted})

    def _not_loaded(self, known: Collection[str]) -> Iterator[tuple[str, Mapping[int, Status]]]:
        """Give the models that the folder holds now beside those that are known."""
        with contextlib.suppress(OSError):
            for name, folder in model_folders(self.root).items():
                if name not in known and name.isprintable():
                    yield name, dict.fromkeys(version_numbers(folder), Status(UNAVAILABLE, NOT_LOADED))

    def _entry(self, name: str) -> Entry:
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


def _pin(model: Model) -> Pin:
    """What another worker needs to serve the same as a version that serves."""
    return Pin(model.manifest.self_sha256)
