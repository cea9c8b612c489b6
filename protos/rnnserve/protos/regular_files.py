"""Reading files of a repository, which may hold anything."""

import errno
import stat
from pathlib import Path

__all__ = ["read_regular"]


def read_regular(path: Path) -> bytes:
    """Read a file, unless it is a named pipe, a socket or a device, of which reading may never end.

    Raises:
        OSError: If it cannot be read, or is no regular file.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "is no regular file")
    return path.read_bytes()
