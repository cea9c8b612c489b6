"""What there is of a repository's models at one moment: which versions serve, and why the others do not."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from rnnserve.server.errors import NotFound, NotReady, quoted
from rnnserve.server.repository.entries import LOADING, READY, Entry, ServedVersion, Status
from rnnserve.server.repository.model_state import ModelState

__all__ = ["Catalogue"]


class Catalogue:
    """Answers what is asked of a repository's models. Any thread may ask.

    What it holds is one reference to a mapping of entries, neither of which ever changes. A change puts another one in
    its place, so that each answer is that of one moment.

    Attributes:
        root: The repository's folder.
    """

    def __init__(self, root: Path, entries: Mapping[str, Entry], ready: str) -> None:
        """Keep entries.

        Args:
            root: The repository's folder.
            entries: Entries of the models, by name, in order.
            ready: The rule for the server as a whole: ready while "any" or while "all" of its models are, as in
                `Settings`.
        """
        self.root = root
        self._entries = entries
        self._ready = ready

    def has(self, name: str) -> bool:
        """Whether there is a model of this name, loaded or not."""
        return name in self._entries

    def models(self) -> list[str]:
        """Name the models that are to be loaded, in order."""
        return [name for name, entry in self._entries.items() if entry.is_wanted]

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
        return any(status.state == LOADING for entry in self._entries.values() for status in entry.versions.values())

    def served(self) -> list[ServedVersion]:
        """Give every version that serves."""
        return [served for entry in self._entries.values() for _, served in sorted(entry.served.items())]

    def why_none(self) -> str:
        """Say that no model serves, and why, in a line for each."""
        reasons = [f"  {_why_not(name, entry, entry.versions)}" for name, entry in self._entries.items()]
        return "\n".join([f"no model in {self.root} may serve:", *reasons])

    def statuses(self) -> Iterator[tuple[str, Mapping[int, Status]]]:
        """Give every model with the status of each of its versions."""
        for name, entry in self._entries.items():
            faults = {number: fault for number, served in entry.served.items() for fault in served.faults}
            found = {number: Status(READY, faults[number]) for number in faults}
            yield name, dict(sorted({**entry.versions, **found}.items()))

    def in_words(self, name: str) -> str:
        """Say which versions of a model serve."""
        entry = self._entries.get(name)
        versions = [] if entry is None else sorted(entry.served)
        return f"serves with version {', '.join(map(str, versions))}" if versions else "does not serve"

    def in_short(self) -> dict[str, ModelState]:
        """What becomes of each model that is to be loaded, by name."""
        return {name: entry.in_short for name, entry in self._entries.items() if entry.is_wanted}

    def _entry(self, name: str) -> Entry:
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


def _why_not(name: str, entry: Entry, numbers: Iterable[int]) -> str:
    if entry.reason:
        return f'model "{name}" does not serve: {entry.reason}'
    said = "; ".join(f"version {number}: {entry.versions[number].reason or 'is loading'}" for number in sorted(numbers))
    return f'model "{name}" does not serve: {said}'
