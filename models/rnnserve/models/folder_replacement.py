"""Writes a folder of a few files atomically: either all of them appear, or none."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

from rnnserve.models.errors import CheckpointError

__all__ = ["refuse_other_files", "replace_folder"]


def replace_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder with exactly these files. Replaces an older folder with files of the same names.

    The files are written to a temporary folder next to it, which is then renamed. A reader sees the old folder, the new
    folder, or briefly no folder, but never a mixture.

    Args:
        folder: The folder to write. Missing parents are created.
        files: Content of each file, by name.

    Raises:
        CheckpointError: If the folder contains other files, or cannot be written. The old folder is then unchanged.
    """
    made = [parent for parent in folder.parents if not parent.exists()]
    try:
        refuse_other_files(folder, files)
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            _write_files(work / "new", files)
            _swap(work / "new", folder, backup=work / "old")
        finally:
            shutil.rmtree(work)
    except BaseException as error:
        for parent in made:
            with contextlib.suppress(OSError):  # not empty
                parent.rmdir()
        if not isinstance(error, OSError):
            raise
        raise CheckpointError(
            f"{folder} cannot be written: {error.strerror or error}. {_what_is_there(folder)}, and no partial files "
            "remain"
        ) from error


def _what_is_there(folder: Path) -> str:
    return "The older checkpoint is unchanged" if folder.exists() else "No checkpoint was written"


def refuse_other_files(folder: Path, files: Collection[str]) -> None:
    """Refuse to replace a folder that contains other files.

    Raises:
        CheckpointError: If it contains other files, or is a file itself.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is a file; a checkpoint is a folder")
    others = sorted(entry.name for entry in folder.iterdir() if entry.name not in files)
    if others:
        raise CheckpointError(
            f"{folder} contains {', '.join(others)}, which are not files of a checkpoint; remove them or choose "
            "another folder"
        )


def _write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir()
    for name, content in files.items():
        with (folder / name).open("wb") as file:
            file.write(content)
            file.flush()
            # Without fsync, a power failure after the rename may leave an empty file.
            os.fsync(file.fileno())


def _swap(new: Path, folder: Path, *, backup: Path) -> None:
    if not folder.exists():
        new.rename(folder)
        return
    try:
        folder.rename(backup)
        new.rename(folder)
    except BaseException:  # even an interrupt must not lose the older folder
        if backup.exists() and not folder.exists():
            backup.rename(folder)
        raise
