"""Read files of unknown content in bounded time and memory."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

__all__ = ["FileTooLarge", "LeadsOutError", "OpenToAll", "read_blocks", "read_guarded", "read_regular"]


class FileTooLarge(OSError):
    """The file is larger than allowed."""

    def __init__(self, found: int, most: int) -> None:
        super().__init__(errno.EFBIG, f"has {found:,} bytes; the limit is {most:,}")


class LeadsOutError(OSError):
    """The file is outside the required folder, because a link to it was followed."""

    def __init__(self) -> None:
        super().__init__(errno.ELOOP, "is a link to a place outside the repository")


class OpenToAll(OSError):
    """Every user of this machine may write the file, or may read it although it is secret."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.EPERM, f"is accessible to every user of this machine; run chmod o-rw {path}")


def read_guarded(path: Path, most: int, *, is_secret: bool) -> bytes:
    """Read a file like `read_regular`. Raises OpenToAll if every user may write it, or may read it although secret."""
    content = read_regular(path, most)
    if path.stat().st_mode & (stat.S_IWOTH | (stat.S_IROTH if is_secret else 0)):
        raise OpenToAll(path)
    return content


def read_regular(path: Path, most: int, inside: Path | None = None) -> bytes:
    """Read a file of at most `most` bytes. With `inside`, the file must be in that folder after links are followed.

    Raises:
        FileTooLarge: The file is larger. Nothing is read.
        LeadsOutError: The file isn't in `inside`. Nothing is read.
        OSError: The file cannot be read, or it is a folder, named pipe, socket or device. Reading from some of these
            would never end.
    """
    return b"".join(read_blocks(path, most, inside, largest=most))  # usually a single block, which join doesn't copy


def read_blocks(path: Path, most: int, inside: Path | None = None, *, largest: int = 1 << 20) -> Iterator[bytes]:
    """Read a file like `read_regular`, in blocks of `largest` bytes."""
    try:
        _check(path.stat(), most)  # before the open, because opening a device may have effects
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError:  # a NUL in the path
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from None
    try:
        status = os.fstat(file)
        _check(status, most)  # again, because the path may now lead to another file
        if inside is not None:
            _check_place(file, inside)
        left = status.st_size  # stop there even if the file grows
        while left and (block := os.read(file, min(left, largest))):
            left -= len(block)
            yield block
    finally:
        os.close(file)


def _check(status: os.stat_result, most: int) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "is not a regular file")
    if status.st_size > most:
        raise FileTooLarge(status.st_size, most)


def _check_place(file: int, inside: Path) -> None:
    """Check the folder of an open file. Checking the path isn't enough: a link may replace it before its use."""
    if not Path(f"/proc/self/fd/{file}").readlink().is_relative_to(inside.resolve()):
        raise LeadsOutError
