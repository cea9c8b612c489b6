"""What commands check before they import torch: mistakes that need seconds of imports for nothing are told at once."""

import difflib
import tempfile
from pathlib import Path

from rnnserve.export.errors import ExportError, WrongArguments

__all__ = ["check_checkpoint", "check_file", "check_repository"]


def check_repository(repository: Path) -> None:
    """Check that a version can be published there, without leaving anything.

    Raises:
        ExportError: If not; the message says why.
    """
    folder = repository
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        what = "is a file" if folder == repository else f"cannot be made, since {folder} is a file"
        raise ExportError(f"the repository {repository} {what}; expected a folder. Nothing was published")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ExportError(
            f"the repository {repository} cannot be written: {error.strerror}. Nothing was published"
        ) from error


def check_file(path: Path) -> None:
    """Check that a file can be read.

    Raises:
        WrongArguments: If not; the message says why.
    """
    if not path.exists():
        raise WrongArguments(f"there is no file {path}{_similar(path)}")
    if not path.is_file():
        raise WrongArguments(f"{path} is not a file; expected an ONNX file" if path.is_dir() else f"{path} is no file")
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise WrongArguments(f"{path} is empty")
    except OSError as error:
        raise WrongArguments(f"{path} cannot be read: {error.strerror}") from error


def check_checkpoint(folder: Path) -> None:
    """Check that there is a checkpoint.

    Raises:
        WrongArguments: If there is none; the message names the most similar one.
    """
    if not folder.is_dir():
        raise WrongArguments(
            f"there is no checkpoint {folder}: `rnnserve train` writes checkpoints, and FILE.py:NAME names a module of "
            f"your own{_similar(folder)}"
        )


def _similar(path: Path) -> str:
    """Name the entry beside it whose name is most like it."""
    names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    found = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {path.parent / found[0]}?" if found else ""
