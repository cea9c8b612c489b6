"""Requests that offer another protocol, with a body.

Java's HttpClient offers HTTP/2 (`Upgrade: h2c`) with each request that is not encrypted. A server that speaks no other
protocol answers as if nothing had been offered (RFC 9110, 7.8). httptools takes what follows the head for the other
protocol, and reads no body.
"""

from collections.abc import Sequence
from typing import Protocol

import httptools

__all__ = ["parser_of_body"]


class _TakesBody(Protocol):
    def on_body(self, body: bytes, /) -> None: ...

    def on_message_complete(self) -> None: ...


class _BodyOnly:
    """The parser's events, but for those of a head."""

    def __init__(self, to: _TakesBody) -> None:
        self.on_body = to.on_body
        self.on_message_complete = to.on_message_complete


def parser_of_body(headers: Sequence[tuple[bytes, bytes]], to: _TakesBody) -> "httptools.HttpRequestParser | None":
    """Make a parser for the body of a request whose head has been read; None where it has none.

    Args:
        headers: Fields of the head, which were checked; names in lower case.
        to: Object that is told of the body, and of its end.
    """
    kept = [b"%s: %s\r\n" % field for field in headers if field[0] in (b"content-length", b"transfer-encoding")]
    if not kept or kept == [b"content-length: 0\r\n"]:
        return None
    parser = httptools.HttpRequestParser(_BodyOnly(to))
    parser.feed_data(b"POST / HTTP/1.1\r\n%s\r\n" % b"".join(kept))
    return parser
