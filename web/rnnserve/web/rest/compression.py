"""Compressed bodies: gzip and deflate (zlib's format), decompressed up to a bound, compressed where asked for."""

import zlib
from collections.abc import Iterator

from rnnserve.web.errors import RestError, bad_request

__all__ = ["Deflater", "Inflater", "choose_coding", "compress"]

_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_LEVEL = 1
"""Of zlib: an answer of floats shrinks little more at 6, which takes four times as long."""

_STEP = 256 << 10
"""Bytes that are decompressed at a time, in 0.7 ms: 32 KiB may become 32 MiB."""

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

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decompress what has arrived, in pieces of some size.

        Raises:
            RestError: If it is damaged, or more than the bound.
        """
        is_full = True
        while data or is_full:
            most = min(_STEP, self._most - self._size + 1)
            made = self._decompress(data, most)
            yield made
            data, is_full = self._zlib.unconsumed_tail, len(made) == most

    def _decompress(self, data: bytes, most: int) -> bytes:
        try:
            made = self._zlib.decompress(data, most)
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
    deflater = Deflater(coding)
    return deflater.feed(body) + deflater.end()


class Deflater:
    """Compresses a body that is written piece by piece."""

    def __init__(self, coding: str) -> None:
        """Begin, with a coding that `choose_coding` gave."""
        self._zlib = zlib.compressobj(_LEVEL, wbits=_WINDOWS[coding])

    def feed(self, piece: bytes) -> bytes:
        """Compress a piece; the result may be empty."""
        return self._zlib.compress(piece)

    def end(self) -> bytes:
        """Give what is left."""
        return self._zlib.flush()
