"""Folders of a few files, written whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rnnserve.models.errors import CheckpointError

__all__ = ["write_folder"]


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make a folder of exactly these files, in place of one that holds files of these names only.

    The files are written beside it and moved there by one rename: whoever looks sees the old folder, or none for a
    moment, or the new one, and never a mixture.

    Args:
        folder: to be made; its parents are made too.
        files: content by name.

    Raises:
        CheckpointError: the folder holds something else, or the disk refuses; what was there is still there.
    """
    try:
        _refuse_strangers(folder, files)
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            _fill(work / "new", files)
            _swap(work / "new", folder, aside=work / "old")
        finally:
            shutil.rmtree(work)
    except OSError as error:
        raise CheckpointError(f"{folder} cannot be written: {error.strerror or error}") from error


def _refuse_strangers(folder: Path, files: Mapping[str, bytes]) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is a file; a checkpoint is a folder")
    strangers = sorted(entry.name for entry in folder.iterdir() if entry.name not in files)
    if strangers:
        raise CheckpointError(
            f"{folder} holds {', '.join(strangers)}, which is no part of a checkpoint: it is not replaced"
        )


def _fill(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir()
    for name, content in files.items():
        with (folder / name).open("wb") as file:
            file.write(content)
            file.flush()
            # Else a power cut after the rename may leave the name with an empty file behind it.
            os.fsync(file.fileno())


def _swap(new: Path, folder: Path, *, aside: Path) -> None:
    if not folder.exists():
        new.rename(folder)
        return
    folder.rename(aside)
    try:
        new.rename(folder)
    except OSError:
        aside.rename(folder)
        raise
