"""Compressed bodies of requests: gzip and deflate (zlib's format)."""

import zlib

from rnnserve.web.errors import RestError, bad_request

__all__ = ["Inflater"]

_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class Inflater:
    """Decompresses a single-member body as it arrives.

    Raises RestError if the body is damaged or has more than `most` bytes after decompression.
    """

    def __init__(self, coding: str, most: int) -> None:
        if coding not in _WINDOWS:
            raise RestError(
                415, f"Content-Encoding {coding[:100]!r} is not supported; use gzip or deflate",
                headers={"accept-encoding": "gzip, deflate"},
            )  # fmt: skip
        self._coding, self._most, self._left = coding, most, most
        self._zlib = zlib.decompressobj(_WINDOWS[coding])

    def feed(self, data: bytes) -> bytes:
        """Decompress the next bytes of the body."""
        try:
            made = self._zlib.decompress(data, self._left + 1)
        except zlib.error as error:
            raise bad_request(f"the body cannot be decompressed as {self._coding}: {error}") from None
        self._left -= len(made)
        if self._left < 0:
            raise RestError(
                413,
                f"the decompressed body is too large; at most {self._most:,} bytes are allowed. Send fewer rows (the "
                "batch axis) per request",
            )
        if self._zlib.unused_data:
            raise bad_request(f"the body has extra bytes after the end of its {self._coding} stream")
        return made

    def end(self) -> None:
        """Check that the stream has ended."""
        if not self._zlib.eof:
            raise bad_request(f"the body ends in the middle of its {self._coding} stream")
