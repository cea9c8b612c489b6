"""Publishing: a version appears in the repository complete, by one rename, or not at all.

Before the rename its files are in a folder whose name begins with a dot, which servers ignore. An export that is killed
leaves such a folder, which may be removed.
"""

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rnnserve.export.errors import ExportError, PublishingFailed
from rnnserve.export.sealing import Seal
from rnnserve.export.triton_config_writing import write_config
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


def publish_version(
    model: Path,
    files: Mapping[str, bytes],
    config: str,
    check: Callable[[Path], object] = lambda _: None,
    seal: Seal = lambda *_: None,
) -> Published:
    """Publish files as the next version of a model, unless they are its newest version already.

    Args:
        model: `<repository>/<model>`, made where it is missing.
        files: Files of the version, by name.
        config: Text of config.pbtxt, written if there is none.
        check: Function that is called with the folder of the version's files before they are published; what it raises
            is raised.
        seal: Function that is called with the folder and the number with which it is about to be published, or has been
            before; it may add files.

    Raises:
        ExportError: If other exports take every number first.
        PublishingFailed: If it cannot be written; nothing of it remains, which the message says.
    """
    temporary = model / f".publishing-{secrets.token_hex(8)}"
    with _undone_on_failure(model, temporary):
        if not (model / CONFIG).exists():
            write_config(model, config)
        newest = _newest(model)
        if newest is not None and _holds(model / str(newest), files):
            check(model / str(newest))
            seal(model / str(newest), newest)
            return Published(model / str(newest), newest, new=False)
        temporary.mkdir()
        try:
            _write(temporary, files)
            check(temporary)
            return _take_number(model, temporary, files, seal)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)  # after the rename there is nothing to remove


def _take_number(model: Path, temporary: Path, files: Mapping[str, bytes], seal: Seal) -> Published:
    """Rename to the first free number; if another export takes it first, try the next one."""
    for _ in range(_ATTEMPTS):
        newest = _newest(model)
        if newest is not None and _holds(model / str(newest), files):
            seal(model / str(newest), newest)
            return Published(model / str(newest), newest, new=False)
        number = (newest or 0) + 1
        seal(temporary, number)
        try:
            # Fails if the target is a folder that is not empty, as every version is.
            temporary.rename(model / str(number))
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
            continue
        try:
            _sync(model)
        except BaseException:
            # It is to be seen, but may not outlast a power failure. What is told to have failed must not serve.
            (model / str(number)).rename(temporary)
            raise
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
        try:
            with (folder / name).open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            error.filename = error.filename or str(folder / name)  # which writing leaves out
            raise
    _sync(folder)


def _sync(folder: Path) -> None:
    """Write the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _undone_on_failure(model: Path, temporary: Path) -> Iterator[None]:
    """Make the model's folder; on failure remove what was added, since servers report a model without versions.

    Args:
        model: `<repository>/<model>`.
        temporary: Folder in it for what is not published yet.

    Raises:
        PublishingFailed: In the place of an OSError, to say what is left: nothing, or where it is.
    """
    made = [folder for folder in (model, *model.parents) if not folder.exists()]
    had_config = (model / CONFIG).exists()
    try:
        model.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException as error:
        left = _undo(model, temporary, made, had_config=had_config)
        if not isinstance(error, OSError):
            raise
        path = f"{error.filename}: " if error.filename else ""
        raise PublishingFailed(
            f"{model}: {path}{error.strerror or error}. Nothing was published, and "
            + (f"this was left behind and may be removed: {left}" if left else "nothing was left behind"),
            error.errno,
        ) from error


def _undo(model: Path, temporary: Path, made: Sequence[Path], *, had_config: bool) -> str:
    """Remove what was added; return what is left of it, which is nothing unless the disk refuses that, too."""
    added = [temporary]
    shutil.rmtree(temporary, ignore_errors=True)
    with suppress(OSError):
        if not had_config and _newest(model) is None:  # otherwise another export needs it
            added.append(model / CONFIG)
            (model / CONFIG).unlink(missing_ok=True)
    for folder in made:
        with suppress(OSError):  # not empty: another export has come
            folder.rmdir()
    return ", ".join(str(path) for path in added if path.exists())
