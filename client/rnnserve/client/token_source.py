"""A client's token, which may be sent only over TLS or to this machine."""

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

from rnnserve.client.errors import InvalidRequest
from rnnserve.common.hosts import is_loopback
from rnnserve.common.regular_files import read_regular
from rnnserve.protos.protocol_words import AUTHORIZATION

__all__ = ["TokenSource", "check_way"]

_READ_SECONDS = 1.0
_MOST_BYTES = 4096


class TokenSource:
    """A token from an argument, or from a file that is read again each second. Can be sent to other processes."""

    def __init__(self, token: str | None, path: str | os.PathLike[str] | None) -> None:
        """Use this token or this file. Raises InvalidRequest if the token is unusable, without quoting the token."""
        self._path = None if path is None else Path(path)
        self._read_at = time.monotonic()
        self._headers = _headers(token or "", "token") if self._path is None else _read(self._path)

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata of a call with the current token. If the file is unreadable now, use the last token."""
        now = time.monotonic()
        if self._path is not None and now - self._read_at > _READ_SECONDS:
            self._read_at = now
            with contextlib.suppress(InvalidRequest):
                self._headers = _read(self._path)
        return self._headers


def check_way(addresses: Iterable[str]) -> None:
    """Raise InvalidRequest if the token would be sent in plain text (without TLS) to another machine."""
    for address in addresses:
        if not is_loopback(address.rpartition(":")[0].strip("[]")):
            raise InvalidRequest(
                f"refused to send the token to {address} in plain text; use TLS (grpcs://{address}), or allow it on a "
                "network that you trust (insecure=True, --insecure)"
            )


def _headers(token: str, where: str) -> tuple[tuple[str, str], ...]:
    if not (token and token.isascii() and token.isprintable() and " " not in token):
        raise InvalidRequest(f"{where} does not contain a token; expected one line of printable ASCII without spaces")
    return ((AUTHORIZATION, f"Bearer {token}"),)


def _read(path: Path) -> tuple[tuple[str, str], ...]:
    try:
        token = read_regular(path, _MOST_BYTES).decode("ascii", "replace").strip()
    except OSError as error:
        raise InvalidRequest(f"cannot read the token file {path} ({error.strerror})") from error
    return _headers(token, str(path))
