"""The file of refused digests and keys: what was revoked. It is read again when it has changed."""

import logging
import re
import threading
from collections.abc import Iterable
from pathlib import Path

from rnnserve.common.regular_files import read_regular
from rnnserve.server.errors import StartError

__all__ = ["RefusedSignatures"]

_log = logging.getLogger(__name__)

_MOST_BYTES = 1 << 20
_LINE = re.compile(r"\s*(?:(?:sha256:)?([0-9a-f]{64}))?\s*(?:#.*)?")

_Look = tuple[int, int, int] | None
"""Inode, bytes, and time of its last change; None where there is no file."""


class RefusedSignatures:
    """What is refused: SHA-256 of public keys, bundles, what is signed in them, or files. Any thread may ask."""

    def __init__(self, path: Path) -> None:
        """Read the file.

        Args:
            path: File with a SHA-256 in hexadecimal a line, and comments after "#".

        Raises:
            StartError: If it cannot be read, or a line is anything else.
        """
        self._path = path
        self._lock = threading.Lock()
        self._looked = self._look()
        try:
            self._refused = _read(path)
        except (OSError, ValueError) as error:
            raise StartError(f"--refused-signatures {path}: {_said(error)}") from error

    def found_in(self, digests: Iterable[str]) -> str:
        """Give the first of some digests that is refused; empty for none."""
        refused = self._current()
        return next((digest for digest in digests if digest in refused), "")

    @property
    def version(self) -> frozenset[str]:
        """What is refused now, to be compared with what was refused before."""
        return self._current()

    def _current(self) -> frozenset[str]:
        """Read the file again if it has changed; while it cannot be read, what it held before is refused."""
        with self._lock:
            looked = self._look()
            if looked != self._looked:
                self._looked = looked
                try:
                    self._refused = _read(self._path)
                except (OSError, ValueError) as error:
                    _log.error(
                        "--refused-signatures %s: %s; what it held before is still refused", self._path, _said(error)
                    )
                else:
                    _log.info("--refused-signatures %s: %d digests are refused", self._path, len(self._refused))
            return self._refused

    def _look(self) -> _Look:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns


def _read(path: Path) -> frozenset[str]:
    refused = set()
    for number, line in enumerate(read_regular(path, _MOST_BYTES).decode().splitlines(), 1):
        found = _LINE.fullmatch(line)
        if found is None:
            raise ValueError(f"line {number} is no SHA-256 of 64 digits in lower-case hexadecimal")
        if found[1]:
            refused.add(found[1])
    return frozenset(refused)


def _said(error: OSError | ValueError) -> str:
    return f"cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
