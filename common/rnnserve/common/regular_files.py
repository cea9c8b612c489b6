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
    """Read a file as `read_regular` does. Raise OpenToAll if every user may write it, or read it although secret."""
    content = read_regular(path, most)
    if path.stat().st_mode & (stat.S_IWOTH | (stat.S_IROTH if is_secret else 0)):
        raise OpenToAll(path)
    return content


def read_regular(path: Path, most: int, inside: Path | None = None) -> bytes:
    """Read a file of at most `most` bytes, which lies in the folder `inside` after all links are followed, if given.

    Raises:
        FileTooLarge: It has more bytes. None is read.
        LeadsOutError: It doesn't lie in `inside`. Nothing is read.
        OSError: It cannot be read, or is a folder, named pipe, socket or device, of which reading may never end.
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
