"""Reading files that may hold anything, in bounded time and memory."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

__all__ = ["FileTooLarge", "LeadsOutError", "OpenToAll", "read_blocks", "read_guarded", "read_regular"]

_BLOCK = 1 << 20


class FileTooLarge(OSError):
    """A file that has more bytes than such a file may have."""

    def __init__(self, found: int, most: int) -> None:
        super().__init__(errno.EFBIG, f"has {found:,} bytes, and may have {most:,}")


class LeadsOutError(OSError):
    """A file that lies outside of the folder that it has to lie in: a link to it was followed."""

    def __init__(self) -> None:
        super().__init__(errno.ELOOP, "is a link that leads out of the repository")


class OpenToAll(OSError):
    """A file that every user of the machine may write or, if it is secret, read."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EPERM, f"is open to every user of this machine: chmod o-rw {path}")


def read_guarded(path: Path, most: int, *, is_secret: bool) -> bytes:
    """Read a file as `read_regular` does, unless others may write it, or read a secret.

    Args:
        path: Path of the file; links in it are followed.
        most: Largest number of bytes that it may have.
        is_secret: Whether others may not read it.

    Raises:
        OpenToAll: If its mode lets every user do so.
        OSError: As `read_regular` does.
    """
    content = read_regular(path, most)
    if path.stat().st_mode & (stat.S_IWOTH | (stat.S_IROTH if is_secret else 0)):
        raise OpenToAll(path)
    return content


def read_regular(path: Path, most: int, inside: Path | None = None) -> bytes:
    """Read a file.

    Args:
        path: Path of the file; links in it are followed.
        most: Largest number of bytes that it may have.
        inside: Folder in which the file that was opened has to lie, after all links. None: anywhere.

    Raises:
        FileTooLarge: If it has more; nothing of it is read.
        LeadsOutError: If it does not lie in `inside`; nothing of it is read.
        OSError: If it cannot be read, or is no regular file: a folder, named pipe, socket or device, of which reading
            may never end.
    """
    return b"".join(_blocks(path, most, most, inside))  # in most cases of one block, which is not copied


def read_blocks(path: Path, most: int, inside: Path | None = None) -> Iterator[bytes]:
    """Read a file as `read_regular` does, a mebibyte at a time."""
    return _blocks(path, most, _BLOCK, inside)


def _blocks(path: Path, most: int, largest: int, inside: Path | None) -> Iterator[bytes]:
    try:
        _check(path.stat(), most)  # before it is opened, since opening a device may have effects
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError:  # a NUL in its name
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from None
    try:
        status = os.fstat(file)
        _check(status, most)  # again: what was opened may be another file
        if inside is not None:
            _check_place(file, inside)
        left = status.st_size  # and no more, should it grow
        while left and (block := os.read(file, min(left, largest))):
            left -= len(block)
            yield block
    finally:
        os.close(file)


def _check(status: os.stat_result, most: int) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "is no regular file")
    if status.st_size > most:
        raise FileTooLarge(status.st_size, most)


def _check_place(file: int, inside: Path) -> None:
    """Check where an open file lies. A path is no proof: it may be swapped for a link between a check and its use."""
    if not Path(f"/proc/self/fd/{file}").readlink().is_relative_to(inside.resolve()):
        raise LeadsOutError
