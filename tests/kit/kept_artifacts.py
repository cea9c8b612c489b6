"""Artifacts that take long to make, kept from one test run to the next.

They are kept in pytest's cache by a digest of what makes them: sources, and versions of packages. Of several processes
one makes them, and the others wait. Each test session gets a copy of its own, so that no test can change what is kept.
"""

import fcntl
import hashlib
import importlib.metadata
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

__all__ = ["KeptArtifacts", "digest_of"]

PACKAGES = ("numpy", "onnx", "onnx-ir", "onnxruntime", "onnxscript", "protobuf", "safetensors", "torch")


def digest_of(folders: Iterable[Path], packages: Iterable[str] = PACKAGES) -> str:
    """Digest of the Python files in the folders, by their paths, and of the versions of Python and of the packages."""
    digest = hashlib.sha256(sys.version.encode())
    for package in packages:
        digest.update(f"{package} {importlib.metadata.version(package)}\n".encode())
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(folder.parent)} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()


class KeptArtifacts:
    """Folders of artifacts, by name, each made once for one digest.

    Attributes:
        folder: Where they are kept.
        digest: What they are made of.
        oldest: Artifacts that were made before, in seconds since the epoch, are made anew.
    """

    def __init__(self, folder: Path, digest: str, *, oldest: float = 0.0) -> None:
        self.folder, self.digest, self.oldest = folder, digest, oldest

    def copy(self, name: str, make: Callable[[Path], None], to: Path) -> Path:
        """Copy an artifact, which is made now if it is not there.

        Args:
            name: The artifact's.
            make: Writes it into a folder that does not exist.
            to: The copy, which does not exist.
        """
        mine = self.folder / name
        mine.mkdir(parents=True, exist_ok=True)
        with (mine / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed
            kept = mine / self.digest
            if not kept.exists() or kept.stat().st_mtime < self.oldest:
                self._make(mine, kept, make)
            return Path(shutil.copytree(kept, to))

    @staticmethod
    def _make(mine: Path, kept: Path, make: Callable[[Path], None]) -> None:
        for older in mine.iterdir():  # of other sources, or half made by a process that was killed
            if older.is_dir():
                shutil.rmtree(older)
        with tempfile.TemporaryDirectory(dir=mine) as half:
            made = Path(half) / "made"
            make(made)
            os.utime(made, (time.time(),) * 2)
            made.rename(kept)
