"""Heads of requests that llhttp has taken, byte for byte, and what each asks for: none of them is parsed twice.

A client writes the same head again and again. What an application may answer at once it says of a head once, and the
next request with the same bytes is found by them.
"""

import dataclasses
from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

import httptools

__all__ = ["HeadPlanner", "KnownHeads", "RequestHead"]

Plan = TypeVar("Plan")
Planned = TypeVar("Planned", covariant=True)

_MOST_HEAD = 1 << 10
"""Bytes of a head that is kept, with its blank line: those of clients of the protocol have 100 to 400."""

_MOST_HEADS = 512
"""Heads kept: of one client as many as its bodies have sizes. Where there are more, all are found out again."""

_OWN_BODIES = 64 << 10
"""Bytes of a body from which on a request is not answered at once."""

_INERT = frozenset(
    (b"accept", b"accept-encoding", b"accept-language", b"authorization", b"cache-control", b"connection",
     b"content-length", b"content-type", b"host", b"inference-header-content-length", b"pragma", b"traceparent",
     b"tracestate", b"user-agent", b"x-request-id")
)  # fmt: skip
"""Fields that a head may have. Any other may mean something: such a request goes the general way."""

_EACH_TIME = frozenset((b"traceparent", b"tracestate", b"x-request-id"))
"""Fields that are others in each request: heads with them are read each time, and not kept."""


@dataclasses.dataclass(frozen=True, slots=True)
class RequestHead:
    """A head that has no more than one meaning: of HTTP/1.1, with fields that come once, for a connection that stays.

    Attributes:
        path: Target of the request line, undecoded.
        fields: Fields by name, lower case.
        length: Bytes of the body.
        server: Address and port that the client has connected to; None where it is not known.
    """

    path: bytes
    fields: Mapping[bytes, bytes]
    length: int
    server: tuple[str, int | None] | None


class HeadPlanner(Protocol[Planned]):
    """Says what heads ask for."""

    @property
    def method(self) -> bytes:
        """The method of the requests that may be answered at once."""

    def plan(self, head: RequestHead, /) -> Planned | None:
        """Say what a head asks for; None where it takes the general way to say it."""


class KnownHeads(Generic[Plan]):
    """The heads of one application."""

    def __init__(self, planner: HeadPlanner[Plan]) -> None:
        """Begin without any."""
        self._planner = planner
        self._plans: dict[tuple[str, bytes], tuple[Plan, int] | None] = {}

    def find(self, head: bytes, server: tuple[str, int | None] | None) -> tuple[Plan, int] | None:
        """Give what a head asks for, and how many bytes its body has; None where it goes the general way.

        Args:
            head: The bytes from the request line to the blank line.
            server: Address and port that the client has connected to.
        """
        key = server[0] if server else "", head
        try:
            return self._plans[key]
        except KeyError:
            pass
        if len(head) > _MOST_HEAD:
            return None
        read = _HeadReader(head).read(self._planner.method, server)
        plan = None if read is None else self._planner.plan(read)
        found = None if read is None or plan is None else (plan, read.length)
        if read is None or not _EACH_TIME & read.fields.keys():
            if len(self._plans) >= _MOST_HEADS:
                self._plans.clear()
            self._plans[key] = found
        return found


class _HeadReader:
    """Reads a head by llhttp, as a connection's own parser would."""

    def __init__(self, head: bytes) -> None:
        self._head = head
        self._url = b""
        self._fields: list[tuple[bytes, bytes]] = []
        self._is_whole = False
        self._parser = httptools.HttpRequestParser(self)

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._is_whole = True

    def read(self, method: bytes, server: tuple[str, int | None] | None) -> RequestHead | None:
        """Give the head; None where it is another one than may be answered at once."""
        try:
            self._parser.feed_data(self._head)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return None
        fields = dict(self._fields)
        length = fields.get(b"content-length", b"")
        is_plain = (
            self._is_whole
            and self._parser.get_method() == method
            and self._parser.get_http_version() == "1.1"
            and self._parser.should_keep_alive()
            and len(fields) == len(self._fields)
            and fields.keys() <= _INERT
            and b"host" in fields
            and fields.get(b"connection", b"keep-alive").lower() == b"keep-alive"
            and length.isdigit()
            and 0 < int(length) <= _OWN_BODIES
        )
        return RequestHead(self._url, fields, int(length), server) if is_plain else None
