"""The folders of a repository as they are now: which models and versions there are, and whether they have changed.

Names of models come from listing the repository's folder, never from a request: no request names a path.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from rnnserve.protos import manifest_pb2
from rnnserve.protos.artifact import MANIFEST, ArtifactError
from rnnserve.protos.names import version_number
from rnnserve.protos.triton_config import CONFIG

__all__ = ["NEVER_SEEN", "Fingerprint", "ModelFolders", "check_name", "version_numbers", "way_out"]

_MOST_FILES = 64
"""Files of a version that are looked at: it may have 16 beside its manifest, and others do not matter."""

Fingerprint = frozenset[tuple[str, int, int, int]]
"""Of a model's folder: each file's path in it, inode, bytes, and time of its last change in nanoseconds. No file is
read, so that a look costs some microseconds a file."""

NEVER_SEEN: Fingerprint = frozenset({("", 0, 0, 0)})
"""Of no folder: a model of which this has been seen has changed, even if it has no folder."""


class ModelFolders:
    """Where the models of a server lie: each in a folder of its name, or one in the repository's folder itself.

    The first is a repository. The second is what is mounted where a platform serves one model, as KServe does; the name
    of the folder says nothing then, and the model has one of its own.

    Attributes:
        root: The repository's folder.
        only: The name of the one model whose folder the repository's is; None for a repository.
    """

    def __init__(self, root: Path, only: str | None = None) -> None:
        self.root = root
        self.only = only

    def find(self) -> dict[str, Path]:
        """List the folders of models, by name, in order; hidden ones are none.

        Raises:
            OSError: If the repository's folder cannot be read.
        """
        paths = sorted(path for path in self.root.iterdir() if path.is_dir() and not path.name.startswith("."))
        if self.only:
            return {self.only: self.root} if paths else {}
        return {path.name: path for path in paths}

    def of(self, name: str) -> Path:
        """Give a model's folder, whether there is one or not."""
        return self.root if self.only else self.root / name

    def fingerprints(self) -> Mapping[str, Fingerprint]:
        """Look at all folders of models.

        Returns:
            The fingerprint of each, by the model's name. That of a folder that cannot be read is empty.

        Raises:
            OSError: If the repository's folder cannot be read.
        """
        return {name: _fingerprint(folder) for name, folder in self.find().items()}

    def mistake(self) -> str | None:
        """Say that the repository's folder is of the other kind, if it looks as if it were.

        Raises:
            OSError: If it cannot be read.
        """
        is_model = (self.root / CONFIG).exists()
        if is_model and not self.only:
            return f"{self.root} is the folder of one model, for {CONFIG} lies in it: name the model with --model-name"
        models = ", ".join(sorted(path.parent.name for path in self.root.glob(f"*/{CONFIG}")))
        if self.only and models and not is_model:
            return f"--model-name {self.only}: {self.root} is the folder not of one model, but of {models}"
        return None


def check_name(manifest: manifest_pb2.Manifest, name: str) -> None:
    """Check that a version was published as the model in whose folder it lies.

    Raises:
        ArtifactError: If it was not.
    """
    if manifest.model != name:
        raise ArtifactError(f'{MANIFEST}: is of "{manifest.model}", but lies in the folder of "{name}"')


def version_numbers(folder: Path) -> list[int]:
    """List the numbers of the versions in a model's folder, ascending.

    Raises:
        OSError: If it cannot be read.
    """
    numbers = [version_number(path.name) for path in folder.iterdir() if path.is_dir()]
    return sorted(number for number in numbers if number is not None)


def way_out(root: Path, folder: Path) -> str | None:
    """Name a part of a model's or a version's folder that is a link to somewhere outside of the repository, or None.

    Args:
        root: The repository.
        folder: The model's or the version's folder; what lies directly in it is looked at, too.
    """
    inside = root.resolve()
    if not folder.resolve().is_relative_to(inside):
        return folder.name
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(inside):
                return entry.name
    return None


def _fingerprint(folder: Path) -> Fingerprint:
    found: set[tuple[str, int, int, int]] = set()
    try:
        _add(found, folder / CONFIG, CONFIG)
        for number in version_numbers(folder):
            _add(found, folder / str(number), str(number))
            with os.scandir(folder / str(number)) as entries:
                for entry, _ in zip(entries, range(_MOST_FILES), strict=False):
                    _add(found, Path(entry.path), f"{number}/{entry.name}")
    except OSError:  # it is being removed, or may not be read
        pass
    return frozenset(found)


def _add(found: set[tuple[str, int, int, int]], path: Path, name: str) -> None:
    try:
        status = path.stat()
    except OSError:
        return
    found.add((name, status.st_ino, status.st_size, status.st_mtime_ns))
