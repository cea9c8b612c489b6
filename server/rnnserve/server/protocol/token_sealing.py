"""Sealing bytes into tokens, which only holders of a key can read or make; and the file that holds the keys."""

import base64
import binascii
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from rnnserve.common.extras import missing_package
from rnnserve.server.errors import InvalidRequest, StartError, quoted

__all__ = ["TokenSealing", "read_keys"]

_KEY_BYTES, _MAX_KEYS = 32, 16
_NONCE_BYTES, _TAG_BYTES = 12, 16

_CONTEXT = b"rnnserve sealed session 1"
"""Authenticated with every token: what another program, or another format, sealed with the same key does not open."""


class _Aead(Protocol):
    """An algorithm of the package `cryptography`, with a key."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes:
        """Seal."""

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None, /) -> bytes:
        """Open."""


class TokenSealing:
    """Seals and opens tokens. Any thread may use it.

    The algorithm is AES-256-GCM-SIV (RFC 8452) with random nonces: replicas that share a key cannot share a counter.
    With AES-GCM a nonce that comes twice breaks the key, so that 2^32 tokens would be the limit (NIST SP 800-38D, 8.3),
    five days of 10,000 steps a second. Here it tells no more than whether two tokens hold the same bytes.
    """

    def __init__(self, keys: Sequence[bytes], most_bytes: int) -> None:
        """Take keys into use.

        Args:
            keys: 32 bytes each: the first seals, all open.
            most_bytes: Largest number of bytes that a token holds.

        Raises:
            StartError: If the package `cryptography` is missing, or its OpenSSL is older than 3.2.
        """
        try:
            from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
            from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
        except ModuleNotFoundError as missing:
            raise StartError(f"--session-key {missing_package(missing.name, 'server')}") from missing
        try:
            self._keys: list[_Aead] = [AESGCMSIV(key) for key in keys]
        except UnsupportedAlgorithm as error:
            raise StartError(
                "--session-key needs AES-GCM-SIV, which OpenSSL has since 3.2: update cryptography"
            ) from error
        self._invalid = InvalidTag
        self._most_characters = 4 * (-(-(_NONCE_BYTES + most_bytes + _TAG_BYTES) // 3))

    def seal(self, data: bytes) -> str:
        """Seal bytes into a token: base64 text, safe in URLs."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _spelled(nonce + self._keys[0].encrypt(nonce, data, _CONTEXT))

    def open(self, token: str) -> bytes:
        """Give the bytes that a token holds. Of the texts that base64 would read as the same bytes, one is a token.

        Raises:
            InvalidRequest: If it is too large, no token, altered, spelled otherwise, or sealed with another key.
        """
        if len(token) > self._most_characters:
            raise InvalidRequest(
                f"the session's token has {len(token):,} characters; none has more than {self._most_characters:,}"
            )
        try:
            whole = base64.b64decode(token, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            whole = b""
        if not whole or _spelled(whole) != token:  # "+" for "-", bits after the last byte, what follows the padding
            raise InvalidRequest(
                f'parameter session is {quoted(token)}: neither "sealed", which begins a session, nor a token as it '
                "came"
            )
        nonce, data = whole[:_NONCE_BYTES], whole[_NONCE_BYTES:]
        for key in self._keys if len(data) >= _TAG_BYTES else ():
            try:
                return key.decrypt(nonce, data, _CONTEXT)
            except self._invalid:
                continue
        raise InvalidRequest(
            "the session's token was altered, or sealed with a key that this server does not have (--session-key): "
            "send the last response's token as it came, to a server with the same key"
        )


def _spelled(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii")


def read_keys(path: Path) -> list[bytes]:
    """Read the keys of a file: the first seals, all open.

    Raises:
        StartError: If it cannot be read, any user of the machine may read or write it, or it does not hold keys.
    """
    option = f"--session-key {path}"
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise StartError(f"{option}: is not a file")
        if status.st_mode & (stat.S_IROTH | stat.S_IWOTH):
            raise StartError(f"{option}: every user of this machine may read or write it; chmod o= {path}")
        with path.open("rb") as file:
            data = file.read(_KEY_BYTES * _MAX_KEYS + 1)
    except OSError as error:
        raise StartError(f"{option}: cannot be read ({error.strerror})") from error
    how = f"head -c {_KEY_BYTES} /dev/urandom makes one"
    if not data or len(data) % _KEY_BYTES:
        size = f"more than {_KEY_BYTES * _MAX_KEYS}" if len(data) > _KEY_BYTES * _MAX_KEYS else str(len(data))
        raise StartError(
            f"{option}: has {size} bytes; expected up to {_MAX_KEYS} keys of {_KEY_BYTES} random bytes each ({how})"
        )
    keys = [data[at : at + _KEY_BYTES] for at in range(0, len(data), _KEY_BYTES)]
    if any(key.isascii() for key in keys):
        raise StartError(f"{option}: holds text; expected keys of {_KEY_BYTES} random bytes each ({how})")
    if len(set(keys)) < len(keys):
        raise StartError(f"{option}: holds one key twice")
    return keys
