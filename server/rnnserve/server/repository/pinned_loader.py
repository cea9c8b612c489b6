"""Loading what other workers serve, in the place of one that has ended; and what else may serve where that is gone.

The versions of the other workers may be gone by then: their folders removed, published anew under their numbers, or
damaged. The other workers still have them in memory; this one cannot. It is never to be worse than a fresh start, so of
such models it serves what their folders and policies give now, and says so.
"""

import functools
import logging
import threading
from collections.abc import Callable, Collection
from pathlib import Path

from rnnserve.protos.artifact import ArtifactError, read_version
from rnnserve.protos.triton_config import read_config
from rnnserve.server.errors import StartError
from rnnserve.server.repository.draft import Draft
from rnnserve.server.repository.loader import LOOK_SECONDS, Loader
from rnnserve.server.repository.pins import ModelPins, Pins, differing, digests
from rnnserve.server.repository.repository import Repository
from rnnserve.server.repository.signed_versions import SignatureGate, SignedVersions

__all__ = ["PinnedLoader", "find_versions"]

_log = logging.getLogger(__name__)


class PinnedLoader:
    """Loads what pins say, and what they leave to be desired. One thread calls `load`, another `wait`."""

    def __init__(
        self,
        models: Repository,
        pins: Pins,
        wanted: Collection[str] | None,
        new_loader: Callable[[Draft], Loader],
    ) -> None:
        """Prepare; `load` loads.

        Args:
            models: The repository, made with the pins.
            pins: The versions that the other workers serve.
            wanted: The models that a fresh start would load; None for all.
            new_loader: A function that makes what loads the repository, or a draft of it.
        """
        self._models = models
        self._pins = pins
        self._wanted = wanted
        self._new_loader = new_loader
        self._loader = new_loader(models)
        self._fault: StartError | None = None
        self._is_done = threading.Event()

    def load(self) -> None:
        """Load what the pins say; then, of models that do not serve it, what their folders and policies give now.

        Raises nothing: `wait` tells what went wrong.
        """
        try:
            first = self._loader
            first.load()
            self._fault = first.fault
            missing = differing(self._pins, self._models.pins()) if first.is_whole else []
            if missing:
                self._load_instead(missing)
        finally:
            self._is_done.set()

    def wait(self) -> None:
        """Wait until all is loaded; or something serves, and others have delayed the start for long.

        Raises:
            StartError: If no version may serve, with the reasons, a line each; or the device cannot be had.
        """
        while not self._is_done.wait(LOOK_SECONDS):
            if self._loader.delays_the_start and self._models.served():
                return
        if self._fault is not None:
            raise self._fault

    def _load_instead(self, missing: Collection[str]) -> None:
        try:
            self._load_as_the_folder_is(missing)
            if not self._models.served() and any(digests(model) for model in self._pins.values()):
                self._load_as_the_folder_is(self._all_names())
        except StartError as error:
            self._fault = error
            return
        for name in missing:
            _log.error(
                "%s: what the other workers serve cannot be loaded any more; as its folder and its version_policy are "
                "now, it %s here",
                name,
                self._models.in_words(name),
            )
        has_none = bool(self._models.models()) and not self._models.served()
        self._fault = StartError(self._models.why_none()) if has_none else None

    def _load_as_the_folder_is(self, names: Collection[str]) -> None:
        """Load some models as by a fresh start.

        Raises:
            StartError: If the repository's folder cannot be read, or no version can be tried.
        """
        draft = self._models.draft(names)
        self._loader = self._new_loader(draft)
        with self._models.showing(draft):
            self._loader.load()
        if not self._loader.is_whole:
            if self._loader.fault is not None:
                raise self._loader.fault
            return  # it was stopped
        self._models.settle(draft)
        # A model without a folder keeps its place: callers are told why it does not serve, and that others may.
        self._models.adopt(draft, [name for name in names if draft.has(name)])
        for name in names:
            if not draft.has(name):
                self._models.need_not_serve(name)

    def _all_names(self) -> Collection[str]:
        """Name the models that a fresh start would load.

        Raises:
            StartError: If the repository's folder cannot be read.
        """
        if self._wanted is not None:
            return self._wanted
        try:
            return list(self._models.folders.find())
        except OSError as error:
            raise StartError(f"the folder {self._models.root} cannot be read: {error.strerror}") from error


def find_versions(
    folder: Path,
    name: str,
    pins: ModelPins,
    inside: Path | None = None,
    only: str | None = None,
    gate: SignatureGate | None = None,
) -> None:
    """Look whether a model's folder holds, undamaged, what pins say that serves; nothing is loaded.

    Args:
        folder: Folder of the model.
        name: Name of the model.
        pins: The versions of it that serve.
        inside: Folder in which its files have to lie, after all links; None: anywhere.
        only: The model's name, where its folder is named otherwise.
        gate: Gate that signed versions have to pass; None where versions need not be signed.

    Raises:
        ArtifactError: If it does not; the message names the file.
        OSError: If it cannot be read.
    """
    signed, wanted = SignedVersions(gate), digests(pins)
    if wanted or gate is None:
        read_config(folder, inside, only, functools.partial(signed.check, folder, name, wanted, inside))
    for number, digest in wanted.items():
        if refusal := signed.refusal(name, number):
            raise ArtifactError(refusal)
        files = signed.files(name, number)
        if read_version(folder / str(number), keep=(), inside=inside, signed=files).manifest.self_sha256 != digest:
            raise ArtifactError(f"version {number} was published anew")
