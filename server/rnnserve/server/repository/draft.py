"""A draft of what some models serve: made from their folders, and filled by a loader.

::

    <repository>/<model>/config.pbtxt
                        /<version>/model.onnx, model.scan.onnx, model.pt, golden.npz, manifest.json

A version serves after its digests held and its golden results came out right on this machine's provider, which the
loader finds out. One that fails stays out, with the reason in its status, and the version before it serves.
"""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnnserve.protos import model_config_pb2
from rnnserve.protos.artifact import ArtifactError, read_version
from rnnserve.protos.triton_config import CONFIG, read_config, versions_to_serve
from rnnserve.server.repository.catalogue import Catalogue
from rnnserve.server.repository.entries import READY, UNAVAILABLE, Entry, ServedVersion, Status, unloaded
from rnnserve.server.repository.folders import ModelFolders, check_name, way_out
from rnnserve.server.repository.model import Model
from rnnserve.server.repository.signed_versions import SignatureGate, SignedVersions

__all__ = ["Draft"]


class Draft(Catalogue):
    """What a loader fills: one thread, the loader's, changes it, and any thread asks.

    Attributes:
        generation: Increased whenever what serves has changed: what was cached of it is out of date then.
        folders: The folders of the models.
        signed: What is signed of their versions, where they have to be signed.
    """

    def __init__(
        self,
        root: Path,
        entries: Mapping[str, Entry],
        ready: str,
        *,
        only: str | None = None,
        serving: Mapping[str, Entry] | None = None,
        may_change: bool = False,
        gate: SignatureGate | None = None,
    ) -> None:
        """Keep entries, whose versions are to be loaded.

        Args:
            root: The repository's folder.
            entries: Entries, as for `Catalogue`.
            ready: The rule of readiness, as for `Catalogue`.
            only: The name of the one model whose folder the repository's is; None for a repository.
            serving: The catalogue that serves while this is loaded beside it.
            may_change: Whether what serves changes while the server runs. Then whoever may write to the repository must
                not have the server read other files.
            gate: Gate that signed versions have to pass; None where versions need not be signed.
        """
        super().__init__(root, entries, ready)
        self.generation = 0
        self.folders = ModelFolders(root, only)
        self._beside: Mapping[str, Entry] = serving or {}
        self._may_change = may_change
        self.signed = SignedVersions(gate)

    @property
    def inside(self) -> Path | None:
        """The folder in which files that are read have to lie, after all links; None: anywhere."""
        return self.root if self._may_change else None

    def config(self, name: str) -> model_config_pb2.ModelConfig:
        """Read a model's config.pbtxt, where one of its versions is signed as it has to be.

        Raises:
            ArtifactError: If it cannot be used, or none is.
        """
        folder = self.folders.of(name)
        check = functools.partial(self.signed.check, folder, name, self._entries[name].versions, self.inside)
        return read_config(folder, self.inside, self.folders.only, check)

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

    def is_outdated(self, name: str, version: int, wanted: int) -> bool:
        """Whether newer versions serve, as many as are to; then this one is left out."""
        newest = self.newest(name, wanted)
        is_outdated = len(newest) == wanted and version < newest[-1]
        if is_outdated:
            self.leave_out(name, version, "a newer version serves")
        return is_outdated

    def refuse(self, name: str, version: int, reason: str) -> None:
        """Let a version not serve, and say why. Where one of its number serves, that serves on."""
        served = self._serving(name).get(version)
        if served is None:
            self._set(name, version, Status(UNAVAILABLE, reason, is_fault=True), None)
        else:
            self._set(name, version, Status(READY, f"was loaded before; what its folder holds now: {reason}"), served)

    def refuse_all(self, name: str, reason: str) -> None:
        """Let no version of a model serve, but for those that do, and say why."""
        self._replace(name, reason=reason)
        for version in self._entries[name].versions:
            self.refuse(name, version, reason)

    def unload(self) -> None:
        """Let no model serve, until it is loaded again."""
        self._entries = {name: unloaded(entry) for name, entry in self._entries.items()}

    def loaded_before(self, name: str, version: int) -> Model | None:
        """Give what serves, if it is what a version's folder holds now: it need not be loaded again.

        Raises:
            ArtifactError: If the folder's files cannot be trusted.
        """
        served = self._serving(name).get(version)
        if served is None:
            return None
        self.check_links(name, version)
        folder, signed = self.folders.of(name) / str(version), self.signed.files(name, version)
        found = read_version(folder, keep=(), inside=self.inside, signed=signed).manifest.self_sha256
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
            folder = self.folders.of(name)
            out = way_out(self.root, folder if version is None else folder / str(version))
        except OSError as error:
            raise ArtifactError(f"its folder cannot be read: {error.strerror}") from error
        if out is not None:
            raise ArtifactError(f"{out}: is a link that leads out of the repository")

    def chosen(self, name: str, config: model_config_pb2.ModelConfig) -> tuple[list[int], int]:
        """Give the versions of a model to try, newest first, and how many of them are to serve.

        Args:
            name: Name of the model.
            config: The model's config.pbtxt.

        Raises:
            ArtifactError: If the config chooses none.
        """
        chosen, wanted = versions_to_serve(config, self.found(name))
        if not chosen:
            raise ArtifactError(
                f"{CONFIG}: version_policy names no version that its folder has; it has "
                f"{', '.join(map(str, self.found(name)))}"
            )
        for version in set(self.found(name)) - set(chosen):
            self.leave_out(name, version, "not chosen by version_policy in config.pbtxt")
        return chosen, wanted

    def check(self, model: Model) -> None:
        """Check that a version is of the model in whose folder it lies.

        Raises:
            ArtifactError: If it is another model's.
        """
        if self.folders.only is None:
            check_name(model.manifest, model.name)

    def _serving(self, name: str) -> Mapping[int, ServedVersion]:
        """What serves a model, where this is loaded beside something."""
        return self._beside[name].served if name in self._beside else {}

    def _set(self, name: str, version: int, status: Status, served: ServedVersion | None) -> None:
        entry = self._entries[name]
        changes = served is not None or version in entry.served
        others = {number: other for number, other in entry.served.items() if number != version}
        self._replace(
            name,
            served=others if served is None else {**others, version: served},
            versions={**entry.versions, version: status},
        )
        self.generation += changes

    def _replace(self, name: str, **changes: Any) -> None:  # noqa: ANN401 - fields of `Entry`
        self._entries = {**self._entries, name: dataclasses.replace(self._entries[name], **changes)}
