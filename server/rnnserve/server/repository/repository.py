"""The models of a repository, live: what serves changes as a whole.

A draft of some models, as their folders are now, is loaded beside what serves, and adopted when it is loaded. A start
loads in place: each model serves as soon as it can.
"""

import contextlib
import logging
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from rnnserve.server.errors import LoadFailed, StartError
from rnnserve.server.repository.draft import Draft
from rnnserve.server.repository.entries import (
    LOADING,
    NOT_LOADED,
    READY,
    UNAVAILABLE,
    Entry,
    ServedVersion,
    Status,
    entry_of,
    unloaded,
)
from rnnserve.server.repository.folders import ModelFolders, version_numbers
from rnnserve.server.repository.signed_versions import SignatureGate

__all__ = ["LOADING", "READY", "UNAVAILABLE", "Repository", "ServedVersion", "Status"]

_log = logging.getLogger(__name__)


class Repository(Draft):
    """The models in a folder. One thread changes what serves; any thread asks."""

    def __init__(
        self,
        root: Path,
        *,
        only: str | None = None,
        wanted: Collection[str] | None = None,
        control: str = "none",
        ready: str = "any",
        gate: SignatureGate | None = None,
    ) -> None:
        """Look which models there are; a `Loader` makes them ready.

        Args:
            root: The repository's folder.
            only: The name of the one model whose folder this is; None for a repository.
            wanted: The names of the models to load; None for all.
            control: Cause of changes of what serves: "none", "poll" or "explicit", as in `Settings`. Where anything
                does, the folder may be empty, and no link may lead out of it.
            ready: The rule for the server as a whole: ready while "any" or while "all" of its models are, as in
                `Settings`.
            gate: Gate that signed versions have to pass; None where versions need not be signed.

        Raises:
            StartError: If there is no such folder, it cannot be read, or no model is in it; if it is a repository, and
                `only` says that it is one model's folder, or the other way round; or it does not have a model that is
                wanted.
        """
        self._control = control
        self._shown: Draft | None = None
        folders = _folders(ModelFolders(root, only))
        entries = _from_folders(folders, {})
        if not entries and control == "none":
            raise StartError(f"no model lies in {root}; `rnnserve export` publishes some (or `make export`)")
        for name in wanted or ():
            if name not in entries:
                known = ", ".join(entries) or "none"
                raise StartError(f"--load-model {name}: {root} has no model of this name; it has {known}")
        if wanted is not None:
            entries = {name: entry if name in wanted else unloaded(entry) for name, entry in entries.items()}
        super().__init__(root, entries, ready, only=only, may_change=control != "none", gate=gate)

    def draft(self, names: Collection[str]) -> Draft:
        """Look at some models again: a draft of these alone, to be loaded beside what serves, and adopted.

        Args:
            names: The models; those that have no folder are not in the draft.

        Raises:
            StartError: If the repository's folder cannot be read.
        """
        folders = {name: path for name, path in _folders(self.folders).items() if name in names}
        serving = self._entries
        entries = _from_folders(folders, serving)
        may_change = self.inside is not None
        return Draft(
            self.root,
            entries,
            self._ready,
            only=self.folders.only,
            serving=serving,
            may_change=may_change,
            gate=self.signed.gate,
        )

    def settle(self, draft: Draft) -> None:
        """Settle, after a draft has been loaded, whether this server needs its models to be ready."""
        for name, entry in draft._entries.items():  # noqa: SLF001 - of a class that this one extends
            before = self._entries.get(name)
            is_needed = bool(entry.served) or (entry.is_wanted and before is not None and before.is_needed)
            draft._replace(name, is_needed=is_needed)

    @contextlib.contextmanager
    def showing(self, draft: Draft) -> Iterator[None]:
        """Show in `statuses` what a draft loads."""
        self._shown = draft
        try:
            yield
        finally:
            self._shown = None

    def adopt(self, draft: Draft, names: Collection[str]) -> None:
        """Let what a draft has loaded serve, from one moment to the next.

        Args:
            draft: A draft of this repository, loaded and settled.
            names: The models that it was made of: those that it does not have are removed.
        """
        others = {name: entry for name, entry in self._entries.items() if name not in names}
        self._entries = dict(sorted({**others, **draft._entries}.items()))  # noqa: SLF001 - the same
        self.generation += 1

    def has_folder(self, name: str) -> bool:
        """Whether a folder of the repository has this name now.

        Raises:
            LoadFailed: If the repository's folder cannot be read.
        """
        try:
            return name.isprintable() and name in self.folders.find()
        except OSError as error:
            raise LoadFailed(f"the repository's folder cannot be read: {error.strerror}") from error

    def statuses(self) -> Iterator[tuple[str, Mapping[int, Status]]]:
        """Give every model with the status of each of its versions; those that are being loaded beside others, too."""
        shown, known = self._shown, dict(super().statuses())
        drafted = {} if shown is None else dict(shown.statuses())
        for name in sorted({*known, *drafted}):
            versions = known.get(name, {})
            added = {number: Status(LOADING) for number in drafted.get(name, {}) if number not in versions}
            yield name, dict(sorted({**versions, **added}.items()))
        if self._control == "explicit":
            yield from self._not_loaded({*known, *drafted})

    def _not_loaded(self, known: Collection[str]) -> Iterator[tuple[str, Mapping[int, Status]]]:
        """Give the models that the folder holds now beside those that are known."""
        with contextlib.suppress(OSError):
            for name, folder in self.folders.find().items():
                if name not in known and name.isprintable():
                    yield name, dict.fromkeys(version_numbers(folder), Status(UNAVAILABLE, NOT_LOADED))


def _folders(folders: ModelFolders) -> Mapping[str, Path]:
    """List the folders of models.

    Raises:
        StartError: If there is no such folder, it cannot be read, or it is one of the other kind.
    """
    root = folders.root
    if not root.is_dir():
        raise StartError(f"there is no folder {root}; `rnnserve export` makes one (or `make export`)")
    try:
        mistake = folders.mistake()
        found = folders.find()
    except OSError as error:
        raise StartError(f"the folder {root} cannot be read: {error.strerror}") from error
    if mistake is not None:
        raise StartError(mistake)
    return found


def _from_folders(folders: Mapping[str, Path], serving: Mapping[str, Entry]) -> dict[str, Entry]:
    """Look which versions there are, for models of which some serve."""
    entries = {}
    for name, path in folders.items():
        if name.isprintable():
            entries[name] = entry_of(path, serving[name].served if name in serving else {})
        else:
            _log.error("%a is left out: no client could ask for a model of this name", name)
    return entries
