"""The file of endpoints that clients follow: `Client("file:///path")`."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["write_endpoints"]


def write_endpoints(path: Path, endpoints: Sequence[str]) -> None:
    """Replace the file as a whole: who reads it sees the addresses of before, or these.

    Args:
        path: Path of the file; its folder exists.
        endpoints: Addresses, `host:port` each.

    Raises:
        OSError: If it cannot be written.
    """
    text = "".join(f"{line}\n" for line in ["# servers that serve now; rnnserve replaces this file", *endpoints])
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(file.fileno(), 0o644)  # whatever the umask: clients are other users
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
