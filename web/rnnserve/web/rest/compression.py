"""Compressed bodies: gzip and deflate (zlib's format), decompressed up to a bound, compressed where asked for."""

import zlib

from rnnserve.web.errors import RestError, bad_request

__all__ = ["Inflater", "choose_coding", "compress"]

_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_LEVEL = 1
"""Of zlib: an answer of floats shrinks little more at 6, which takes four times as long."""

_WORTH_BYTES = 512
"""Bytes of an answer below which it is not compressed."""


class Inflater:
    """Decompresses a body as it arrives: never more bytes than the bound, and one member only."""

    def __init__(self, coding: str, most: int) -> None:
        """Begin.

        Args:
            coding: The header Content-Encoding.
            most: Bytes that the body may have, decompressed.

        Raises:
            RestError: If it is not known.
        """
        if coding not in _WINDOWS:
            raise RestError(
                415, f"Content-Encoding {coding[:100]!r}: bodies may be gzip or deflate",
                headers={"Accept-Encoding": "gzip, deflate"},
            )  # fmt: skip
        self._coding = coding
        self._most = most
        self._size = 0
        self._zlib = zlib.decompressobj(_WINDOWS[coding])

    def feed(self, data: bytes) -> bytes:
        """Decompress what has arrived.

        Raises:
            RestError: If it is damaged, or more than the bound.
        """
        try:
            made = self._zlib.decompress(data, self._most - self._size + 1)
        except zlib.error as error:
            raise bad_request(f"the body cannot be decompressed as {self._coding}: {error}") from None
        self._size += len(made)
        if self._size > self._most:
            raise RestError(
                413,
                f"the body has more than the {self._most:,} bytes, decompressed, that are taken: send fewer rows (the "
                "batch axis) a request",
            )
        if self._zlib.unused_data:
            raise bad_request(f"the body has bytes after the end of its one {self._coding} stream")
        return made

    def end(self) -> None:
        """Note that all has arrived.

        Raises:
            RestError: If the stream has not ended.
        """
        if not self._zlib.eof:
            raise bad_request(f"the body ends in the middle of its {self._coding} stream")


def choose_coding(accepted: str) -> str:
    """Choose how an answer is compressed: as the header Accept-Encoding likes best; empty for not at all."""
    best, likes = "", 0.0
    for entry in accepted.lower().split(","):
        coding, _, parameters = (part.strip() for part in entry.partition(";"))
        if coding not in _WINDOWS:
            continue
        name, _, value = parameters.partition("=")
        try:
            liking = float(value) if name.strip() == "q" else 1.0
        except ValueError:
            liking = 0.0
        if liking > likes:
            best, likes = coding, liking
    return best


def compress(body: bytes, coding: str) -> bytes | None:
    """Compress a body; None where it would not be worth it."""
    if len(body) < _WORTH_BYTES:
        return None
    deflater = zlib.compressobj(_LEVEL, wbits=_WINDOWS[coding])
    return deflater.compress(body) + deflater.flush()
