"""Publishing: a version appears in the repository complete, by one rename, or not at all.

Before the rename its files are in a folder whose name begins with a dot, which servers ignore. An export that is killed
leaves such a folder, which may be removed.
"""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rnnserve.export.errors import ExportError
from rnnserve.export.triton_config import write_config
from rnnserve.protos.triton_config import CONFIG

__all__ = ["Published", "publish_version"]

_ATTEMPTS = 100
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)


@dataclass(frozen=True)
class Published:
    """Where a version is.

    Attributes:
        folder: `<repository>/<model>/<version>`.
        version: Its number.
        new: False if the newest version already had these files.
    """

    folder: Path
    version: int
    new: bool


def publish_version(model: Path, files: Mapping[str, bytes], config: str) -> Published:
    """Publish files as the next version of a model, unless they are its newest version already.

    Args:
        model: `<repository>/<model>`, made where it is missing.
        files: The version's, by name.
        config: Text of config.pbtxt, written if there is none.

    Raises:
        ExportError: If other exports take every number first.
        OSError: If it cannot be written; nothing of it remains.
    """
    with _undone_on_failure(model):
        if not (model / CONFIG).exists():
            write_config(model, config)
        newest = _newest(model)
        if newest is not None and _holds(model / str(newest), files):
            return Published(model / str(newest), newest, new=False)
        temporary = model / f".publishing-{secrets.token_hex(8)}"
        temporary.mkdir()
        try:
            _write(temporary, files)
            return _take_number(model, temporary, files)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)  # after the rename there is nothing to remove


def _take_number(model: Path, temporary: Path, files: Mapping[str, bytes]) -> Published:
    """Rename to the first free number; if another export takes it first, try the next one."""
    for _ in range(_ATTEMPTS):
        newest = _newest(model)
        if newest is not None and _holds(model / str(newest), files):
            return Published(model / str(newest), newest, new=False)
        number = (newest or 0) + 1
        try:
            # Fails if the target is a folder that is not empty, as every version is.
            temporary.rename(model / str(number))
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
            continue
        _sync(model)
        return Published(model / str(number), number, new=True)
    raise ExportError(f"others publish versions of {model.name} faster than a number can be taken; try again")


def _newest(model: Path) -> int | None:
    """Give the highest number taken, also by something that is not a version, such as a file or the folder 007."""
    names = (path.name for path in model.iterdir())
    return max((int(name) for name in names if name.isascii() and name.isdigit()), default=None)


def _holds(version: Path, files: Mapping[str, bytes]) -> bool:
    try:
        return all((version / name).read_bytes() == data for name, data in files.items())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return False


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        with (folder / name).open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    _sync(folder)


def _sync(folder: Path) -> None:
    """Write the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _undone_on_failure(model: Path) -> Iterator[None]:
    """Make the model's folder; on failure remove what was added, since servers report a model without versions."""
    had_folder, had_config = model.is_dir(), (model / CONFIG).exists()
    model.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        if not had_config and _newest(model) is None:  # otherwise another export needs it
            (model / CONFIG).unlink(missing_ok=True)
        if not had_folder and not any(model.iterdir()):
            model.rmdir()
        raise
