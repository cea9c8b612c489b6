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

__all__ = ["TokenSource", "check_way", "token_source"]

_LOOK_SECONDS = 1.0
_MOST_BYTES = 4096


class TokenSource:
    """A token from an argument, or from a file that is read again when it changes. Can be sent to other processes."""

    def __init__(self, token: str | None, path: Path | None) -> None:
        """Use this token or this file. Raises InvalidRequest if the token is unusable, without quoting the token."""
        self._path = path
        self._stamp = (0, 0, 0)
        self._looked_at = time.monotonic()
        if path is not None:
            self._stamp = _stamp(path)
            token = _read(path)
        self._headers = _headers(token or "", str(path or "token"))

    def __repr__(self) -> str:
        return f"TokenSource({self._path or 'given'})"

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata of a call with the current token. If the file is unreadable now, use the last token."""
        now = time.monotonic()
        if self._path is not None and now - self._looked_at > _LOOK_SECONDS:
            self._looked_at = now
            with contextlib.suppress(InvalidRequest):
                stamp = _stamp(self._path)
                if stamp != self._stamp:
                    self._headers = _headers(_read(self._path), str(self._path))
                    self._stamp = stamp
        return self._headers


def token_source(token: str | None, path: str | os.PathLike[str] | None) -> TokenSource | None:
    """Return the source of a client's token, or None for a client without a token. May raise InvalidRequest."""
    if token is None and path is None:
        return None
    if token is not None and path is not None:
        raise InvalidRequest("pass either token or token_file, not both")
    return TokenSource(token, None if path is None else Path(path))


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


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise InvalidRequest(f"cannot read the token file {path} ({error.strerror})") from error
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path) -> str:
    try:
        return read_regular(path, _MOST_BYTES).decode("ascii", "replace").strip()
    except OSError as error:
        raise InvalidRequest(f"cannot read the token file {path} ({error.strerror})") from error
