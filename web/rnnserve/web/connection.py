"""Adapter for uvicorn's undocumented interfaces. Tested with uvicorn 0.54.

uvicorn limits neither the time nor the size of a request head, and it waits forever for a client that doesn't read.
ASGI also doesn't pass on the client's certificate. This file reaches the transport through `receive`, which is a bound
method of uvicorn's request object, and it finds the open connections in uvicorn's server state.
`tests/web/test_connection.py` checks these assumptions.
"""

import asyncio
import base64
import re
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from rnnserve.web.limits import Limits

__all__ = ["Connections", "Protocol", "Receive", "StreamProtocol", "abort", "certificate_of", "drained", "is_gone",
           "take_arrived_body", "task_of", "write_answer"]  # fmt: skip

Receive = Callable[[], Awaitable[dict[str, Any]]]
"""The `receive` callable that ASGI passes to an application."""

_MOST_CERTIFICATE = 6 << 10
"""Longest certificate, in base64 characters, that the gateway passes on. Servers assign no role to a larger one."""

_OFFER = re.compile(rb"\r\nupgrade:[ \t]*h2c[ \t]*(?=\r\n|\Z)", re.IGNORECASE)

_PIECE_BYTES = 4 << 10
"""Bytes that are parsed at a time. They can contain 227 requests at most."""


def certificate_of(receive: Receive) -> str:
    """Return the client's certificate as base64-encoded DER, or "" if the client has none or it is too large."""
    transport = _transport_of(receive)
    tls: ssl.SSLObject | None = None if transport is None else transport.get_extra_info("ssl_object")
    shown = None if tls is None else tls.getpeercert(binary_form=True)
    text = base64.b64encode(shown or b"").decode()
    return text if len(text) <= _MOST_CERTIFICATE else ""


def is_gone(receive: Receive) -> bool:
    """Return whether the client has closed the connection."""
    return bool(getattr(getattr(receive, "__self__", None), "disconnected", False))


def abort(receive: Receive) -> None:
    """Close the connection and discard unsent data."""
    transport = _transport_of(receive)
    if transport is not None:
        transport.abort()


async def drained(receive: Receive) -> None:
    """Wait until uvicorn's write buffer for a WebSocket is nearly empty."""
    writable: asyncio.Event | None = getattr(getattr(receive, "__self__", None), "writable", None)
    if writable is not None:
        await writable.wait()


def task_of(receive: Receive) -> "asyncio.Task[Any]":
    """Return the task in which uvicorn calls the application."""
    return cast("asyncio.Task[Any]", getattr(_cycle_of(receive), "task", None) or asyncio.current_task())


def take_arrived_body(receive: Receive) -> bytes | None:
    """Return the body if all of it has already arrived, else None. It saves `receive` for the usual small request."""
    cycle = _cycle_of(receive)
    if cycle is None or cycle.more_body or cycle.disconnected:
        return None
    body, cycle.body = bytes(cycle.body), bytearray()
    return body


def write_answer(receive: Receive, status: int, fields: bytes, body: bytes) -> bool:
    """Write the head and the body of a response in one system call, where uvicorn takes two.

    `fields` are the lines of the head. Returns False, without writing, if the response has to take uvicorn's way: if
    the connection is to be closed after it, if the client reads too slowly, or if the response has no body.
    """
    cycle = _cycle_of(receive)
    if cycle is None or cycle.flow.write_paused or cycle.disconnected or not (cycle.keep_alive and body):
        return False
    if cycle.scope["method"] == "HEAD":
        return False
    ((_, date),) = cycle.default_headers
    cycle.transport.write(b"".join((STATUS_LINE[status], fields, b"date: ", date, b"\r\n\r\n", body)))
    cycle.response_started = cycle.response_complete = True
    cycle.on_response()
    return True


def is_in_head(connection: Any) -> bool:  # noqa: ANN401 - uvicorn's
    """Return whether a connection waits for a request head or the rest of one."""
    return connection.cycle is None or connection.headers is not connection.cycle.scope["headers"]


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with some differences.

    - It limits the size of a head and the number of pipelined requests. uvicorn keeps an object of some KB for each.
    - It ignores offers to upgrade to HTTP/2. Java's HTTP client and curl send such offers, and uvicorn doesn't read a
      request body after one.
    - It notices at once that a client has disconnected.
    - It sets no timer after each response, because `Connections` closes idle connections.
    """

    head_bytes = 0  # of an incomplete request head
    running: Any = None  # the request that the application handles; `cycle` may be one that waits for it

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Close a connection that its client reset while it was in the kernel's queue, without reading its request.

        The kernel doesn't know the peer of such a connection, so uvicorn has no client address.
        """
        super().connection_made(transport)
        if self.client is None:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read part of a request after removing an HTTP/2 offer from its head."""
        if b"h2c" in data and (self.cycle is None or self.cycle.response_complete):
            head, end, rest = data.partition(b"\r\n\r\n")
            data = _OFFER.sub(b"", head) + end + rest
        for at in range(0, len(data), _PIECE_BYTES):
            piece, before = data[at : at + _PIECE_BYTES], self.cycle
            super().data_received(piece)
            if not is_in_head(self):
                self.head_bytes = 0
            elif self.cycle is before:
                self.head_bytes += len(piece)
            else:  # another request ended in this piece
                self.head_bytes = len(piece)
            # The parser's time grows with the square of a head's size.
            if self.head_bytes > Limits.head_bytes or len(self.pipeline) > Limits.max_pipelined:
                if self.running is not None:
                    self.running.disconnected = True  # it may start before `connection_lost`
                self.transport.abort()
            if self.transport.is_closing() or self.parser.should_upgrade():
                return

    def on_message_complete(self) -> None:
        """Read on after a large body, so that the end of the connection is noticed while the request runs."""
        super().on_message_complete()
        if not self.pipeline:
            self.flow.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the request of a client that disconnects."""
        super().connection_lost(exc)
        if self.running is not None and not self.running.response_complete:
            self.running.disconnected = True
            self.running.task.cancel()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:  # noqa: ANN401 - uvicorn's
        """Start to handle a request, as uvicorn does. `task_of` returns the task."""
        self.running = cycle
        cycle.task = task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def on_response_complete(self) -> None:
        """Go on to the next request of this connection."""
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self.flow.resume_reading()


class StreamProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol. It closes the connection of a client that sends a frame before the handshake ends.

    RFC 6455 forbids such frames. uvicorn fails with an AssertionError if one of them is malformed.
    """

    def data_received(self, data: bytes) -> None:
        """Read the handshake or frames."""
        if self.handshake_initiated and not self.handshake_complete:
            self.transport.abort()
        else:
            super().data_received(data)


class Connections:
    """Closes connections that are too slow, and the longest-waiting ones if there are too many."""

    def __init__(self, server: uvicorn.Server, limits: Limits) -> None:
        self._server = server
        self._limits = limits
        self._waiting: dict[Any, tuple[Any, float]] = {}  # the last request, and the start of the wait

    def __len__(self) -> int:
        return len(self._server.server_state.connections)

    def look(self, now: float) -> None:
        """Close connections that are late or exceed a limit. Call this a few times per second."""
        waiting: dict[Any, tuple[Any, float]] = {}
        heads: dict[Any, int] = {}  # bytes received of each incomplete head
        connections: list[Any] = list(self._server.server_state.connections)
        for connection in connections:
            if not hasattr(connection, "cycle"):
                continue  # a WebSocket
            request = connection.cycle
            if request is not None and not request.response_complete:
                continue  # the application enforces the deadlines of running requests
            in_head = is_in_head(connection)
            state = (request, in_head)
            before, since = self._waiting.get(connection, (None, now))
            if before != state:
                since = now
            waiting[connection] = state, since
            if connection.head_bytes:
                heads[connection] = connection.head_bytes
            if now - since > (self._limits.header_seconds if in_head else self._limits.keep_alive_seconds):
                connection.transport.abort()
        self._waiting = waiting
        held, excess = sum(heads.values()), len(self) - self._limits.max_connections
        if excess > 0 or held > self._limits.max_head_bytes:
            for connection in sorted(waiting, key=lambda connection: waiting[connection][1]):
                if excess > 0 or (held > self._limits.max_head_bytes and heads.get(connection)):
                    connection.transport.abort()
                    excess, held = excess - 1, held - heads.get(connection, 0)


def _cycle_of(receive: Receive) -> Any:  # noqa: ANN401 - uvicorn's
    """Return uvicorn's object for a request, or None if `receive` isn't from uvicorn's HTTP protocol."""
    cycle = getattr(receive, "__self__", None)
    return cycle if isinstance(cycle, RequestResponseCycle) else None


def _transport_of(receive: Receive) -> asyncio.Transport | None:
    return getattr(getattr(receive, "__self__", None), "transport", None)
