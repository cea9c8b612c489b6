"""The folders of a repository as they are now: which models and versions there are, and whether they have changed.

Names of models come from listing the repository's folder, never from a request: no request names a path.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from rnnserve.protos.names import version_number
from rnnserve.protos.triton_config import CONFIG

__all__ = ["Fingerprint", "ModelFolders", "version_numbers"]

_MOST_FILES = 64
"""Files of a version to scan. A version may have 16 files in addition to its manifest. Other files don't matter."""

Fingerprint = frozenset[tuple[str, int, int, int]]
"""State of a model's folder: each file's path in it, inode, bytes, and time of its last change in nanoseconds. No file
is read, so that a look costs some microseconds a file."""


class ModelFolders:
    """The models' folders: subfolders of a repository, or one model in the folder itself, as KServe mounts it (`only`).

    After all links, each file must lie in the folder `inside` (None: anywhere). If the served models can change at run
    time, a writer of the repository must not make the server read files outside of it.
    """

    def __init__(self, root: Path, only: str | None = None, *, may_change: bool = False) -> None:
        self.root = root
        self.only = only
        self.inside = root if may_change else None

    def find(self) -> dict[str, Path]:
        """List the folders of models, by name, in order, except hidden ones. Raise OSError if that fails."""
        paths = sorted(path for path in self.root.iterdir() if path.is_dir() and not path.name.startswith("."))
        if self.only:
            return {self.only: self.root} if paths else {}
        return {path.name: path for path in paths}

    def of(self, name: str) -> Path:
        """Return a model's folder, whether there is one or not."""
        return self.root if self.only else self.root / name

    def fingerprints(self) -> Mapping[str, Fingerprint]:
        """Read all models' folders. Raise OSError if the repository's folder itself can't be read."""
        return {name: _fingerprint(folder) for name, folder in self.find().items()}

    def mistake(self) -> str | None:
        """Describe the mistake if the folder holds one model instead of a repository, or vice versa."""
        is_model = (self.root / CONFIG).exists()
        if is_model and not self.only:
            return (
                f"{self.root} is the folder of a single model, because it contains {CONFIG}; name the model with "
                "--model-name"
            )
        models = ", ".join(sorted(path.parent.name for path in self.root.glob(f"*/{CONFIG}")))
        if self.only and models and not is_model:
            return (
                f"--model-name {self.only}: {self.root} is not the folder of a single model; it contains the "
                f"models {models}"
            )
        return None


def version_numbers(folder: Path) -> list[int]:
    """List the numbers of the versions in a model's folder, ascending. Raise OSError if it cannot be read."""
    numbers = [version_number(path.name) for path in folder.iterdir() if path.is_dir()]
    return sorted(number for number in numbers if number is not None)


def _fingerprint(folder: Path) -> Fingerprint:
    found: set[tuple[str, int, int, int]] = set()

    def add(path: Path, name: str) -> None:
        try:
            status = path.stat()
        except OSError:
            return
        found.add((name, status.st_ino, status.st_size, status.st_mtime_ns))

    try:
        add(folder / CONFIG, CONFIG)
        for number in version_numbers(folder):
            add(folder / str(number), str(number))
            with os.scandir(folder / str(number)) as entries:
                for entry, _ in zip(entries, range(_MOST_FILES), strict=False):
                    add(Path(entry.path), f"{number}/{entry.name}")
    except OSError:  # it is being removed, or may not be read
        pass
    return frozenset(found)
