"""One request as handlers see it, and what they give for an answer."""

import asyncio
import contextlib
import dataclasses
import functools
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from starlette.types import Receive, Scope

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import protocol_words as words
from rnnserve.protos.protocol_words import PEER, REQUEST_ID
from rnnserve.web.app.bodies import BodyReader
from rnnserve.web.app.large_bodies import read_beside_loop
from rnnserve.web.errors import RestError, bad_request
from rnnserve.web.rest.json_text import dump, parse_object
from rnnserve.web.scope_keys import CERTIFICATE
from rnnserve.web.upstream.upstream import CallContext, Upstream

__all__ = ["Answer", "Exchange", "forwarded_headers", "json_answer", "name_of_peer", "said_of_client"]

_FORWARDED = (b"authorization", b"traceparent", b"tracestate")
"""Headers that the server sees."""

_FORWARDED_BYTES = 7 << 10
"""Bytes of one of the headers that the server sees: gRPC refuses calls with more than 8 KiB of metadata now and then,
and as if the server were full. Beyond it: 431."""

_CACHED = 256
"""Clients whose names are kept, which each of their requests needs."""


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What a handler gives.

    Attributes:
        body: All of it.
        status: HTTP status.
        content_type: Header Content-Type.
        headers: Further headers, lower case.
        events: Pieces that are sent as they come, in the place of the body.
    """

    body: bytes = b""
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    events: AsyncGenerator[bytes, None] | None = None

    def fields(self, request_id: str) -> list[tuple[bytes, bytes]]:
        """Give the fields of its head, without those of its body's size and form.

        Args:
            request_id: Name of the request, which every answer tells.
        """
        return [
            (b"content-type", self.content_type.encode()),
            (b"x-request-id", request_id.encode()),
            *((name.lower().encode(), value.encode("latin-1")) for name, value in self.headers.items()),
        ]


class Exchange:
    """A request that has found its route.

    Attributes:
        headers: By name, lower case; of one that comes twice, the last.
        request_id: The client's X-Request-Id, or one that was made.
        upstream: The server.
    """

    __slots__ = ("_bodies", "_receive", "_timeout", "headers", "request_id", "scope", "upstream")

    def __init__(
        self, scope: Scope, receive: Receive, request_id: str, upstream: Upstream, bodies: BodyReader, timeout: float
    ) -> None:
        """Begin.

        Args:
            scope: Scope of ASGI.
            receive: Function of ASGI that gives the next part of the body.
            request_id: Name of the request, in logs and answers.
            upstream: The server.
            bodies: Reads bodies.
            timeout: Seconds that a call may take.
        """
        self.scope = scope
        self._receive = receive
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.request_id = request_id
        self.upstream = upstream
        self._bodies = bodies
        self._timeout = timeout

    @property
    def credentials(self) -> tuple[bytes, str]:
        """What the client has shown of who it is: the header authorization, and its certificate; each may be empty."""
        return self.headers.get(b"authorization", b""), self.scope.get(CERTIFICATE, "")

    @property
    def ending(self) -> asyncio.Event:
        """Set when the front ends: an answer without an end ends then."""
        ending: asyncio.Event = self.scope["rnnserve.ending"]
        return ending

    def parameter(self, name: str) -> str:
        """A part of the path; empty where the route has none of this name."""
        value: str = self.scope["path_params"].get(name, "")
        return value

    async def body(self) -> bytes:
        """Read the body, decompressed.

        Raises:
            RestError: If it is too large, damaged or cut short.
        """
        return await self._bodies.read(self.scope, self.headers, self._receive)

    def turn(self, size: int) -> contextlib.AbstractAsyncContextManager[None]:
        """Wait for a turn at the server, where a request has many bytes; and have it within the block."""
        return self._bodies.turns.turn(size)

    def hold(self, size: int) -> None:
        """Count bytes of the answer among those in hand, until it has been sent.

        Raises:
            RestError: If others take all the room.
        """
        self._bodies.hold(self.scope, size)

    async def json(self) -> dict[str, Any]:
        """Read the body as a JSON object; an empty body is an empty one.

        Raises:
            RestError: If it is none.
        """
        body = await self.body()
        return await read_beside_loop(len(body), parse_object, body) if body.strip() else {}

    def context(self, timeout: float | None = None) -> CallContext:
        """What goes with a call for this request.

        Args:
            timeout: Seconds that it may take; None for the usual ones.

        Raises:
            RestError: If a header cannot be passed on, or is too large.
        """
        metadata = [(REQUEST_ID, self.request_id), *forwarded_headers(self.headers)]
        client = self.scope.get("client")
        name = "" if client is None else name_of_peer(client)
        believed = said_of_client(name, self.scope.get(CERTIFICATE, "")) if self.upstream.trusts_peer else ()
        has_headers = len(metadata) > 1 or len(believed) > 1
        metadata += believed
        return CallContext(tuple(metadata), self._timeout if timeout is None else timeout, has_headers, name)

    async def metadata(self) -> pb.ModelMetadataResponse:
        """Ask for the metadata of the model in the path."""
        return await self.upstream.call(
            "ModelMetadata",
            pb.ModelMetadataRequest(name=self.parameter("model"), version=self.parameter("version")),
            pb.ModelMetadataResponse,
            self.context(),
        )


def forwarded_headers(headers: Mapping[bytes, bytes]) -> list[tuple[str, str]]:
    """Give the headers that the server sees.

    Args:
        headers: Headers by name, lower case.

    Raises:
        RestError: If one cannot be passed on.
    """
    return [(name.decode(), _text(name, headers[name])) for name in _FORWARDED if name in headers]


def said_of_client(name: str, certificate: str) -> tuple[tuple[str, str], ...]:
    """Give what a server that believes this front is told of a client.

    Args:
        name: Name of its connection; empty where it is not known: then nothing else is said of it, either.
        certificate: Certificate that it has shown, in DER and base64; empty for none.
    """
    if not name:
        return ()
    peer = (PEER, name)  # the last: that is where a server looks for it
    return ((words.CERTIFICATE, certificate), peer) if certificate else (peer,)


@functools.lru_cache(_CACHED)
def name_of_peer(client: tuple[str, int]) -> str:
    """Write a client's address and port as gRPC names a connection."""
    host, port = client
    return f"ipv6:%5B{host}%5D:{port}" if ":" in host else f"ipv4:{host}:{port}"


def json_answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """Make an answer of JSON."""
    return Answer(dump(value), status, headers=headers or {})


def _text(name: bytes, value: bytes) -> str:
    if len(value) > _FORWARDED_BYTES:
        raise RestError(
            431,
            f"the header {name.decode()} has {len(value):,} bytes, and at most {_FORWARDED_BYTES:,} reach the server",
        )
    text = value.decode("latin-1")
    if not (text.isascii() and text.isprintable()):
        raise bad_request(f"the header {name.decode()} has characters that are not printable ASCII")
    return text
