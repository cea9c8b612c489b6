"""Adapter for uvicorn's undocumented interfaces. Tested with uvicorn 0.54.

uvicorn limits neither the time nor the size of a request head, and it waits forever for a client that doesn't read.
ASGI also doesn't pass on the client's certificate. This file reaches the transport through `receive`, which is a bound
method of uvicorn's request object, and it finds the open connections in uvicorn's server state.
`tests/web/test_connection.py` checks these assumptions.
"""

import asyncio
import base64
import contextlib
import fcntl
import re
import socket
import ssl
import struct
import termios
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from rnnserve.common.gateway_counts import used_gateway_counts
from rnnserve.web.limits import Limits

__all__ = ["Connections", "Protocol", "Receive", "abort", "certificate_of", "drained", "is_gone"]

Receive = Callable[[], Awaitable[dict[str, Any]]]
"""The `receive` callable that ASGI passes to an application."""

_MOST_CERTIFICATE = 6 << 10
"""Longest certificate, in base64 characters, that the gateway passes on. Servers assign no role to a larger one."""

_OFFER = re.compile(rb"\r\nupgrade:[ \t]*h2c[ \t]*(?=\r\n|\Z)", re.IGNORECASE)

_TCP_INFO_BYTES, _RECEIVED_AT = 136, 128
"""The counter tcpi_bytes_received in Linux's struct tcp_info."""


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


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, except that it ignores offers to upgrade to HTTP/2.

    Java's HTTP client and curl send such offers, and uvicorn doesn't read a request body after one.
    """

    def data_received(self, data: bytes) -> None:
        """Read part of a request after removing an HTTP/2 offer from its head."""
        if b"h2c" in data and (self.cycle is None or self.cycle.response_complete):
            head, end, rest = data.partition(b"\r\n\r\n")
            data = _OFFER.sub(b"", head) + end + rest
        super().data_received(data)


class Connections:
    """Closes connections that are too slow, and the longest-waiting ones if there are too many."""

    def __init__(self, server: uvicorn.Server, limits: Limits) -> None:
        self._server = server
        self._limits = limits
        self._waiting: dict[Any, tuple[Any, float, int]] = {}  # the last request, start of the wait, bytes at the start

    def __len__(self) -> int:
        return len(self._server.server_state.connections)

    def look(self, now: float) -> None:
        """Close connections that are late or exceed a limit. Call this a few times per second."""
        waiting: dict[Any, tuple[Any, float, int]] = {}
        heads: dict[Any, int] = {}  # bytes received of each incomplete head
        queued: dict[Any, int] = {}  # pipelined requests waiting for earlier ones
        connections: list[Any] = list(self._server.server_state.connections)
        for connection in connections:
            if not hasattr(connection, "cycle"):
                continue  # a WebSocket
            request = connection.cycle
            if connection.pipeline:
                queued[connection] = len(connection.pipeline)
            if request is not None and not request.response_complete:
                continue  # the application enforces the deadlines of running requests
            in_head = request is None or connection.headers is not request.scope["headers"]
            state = (request, in_head)
            before, since, received = self._waiting.get(connection, (None, now, 0))
            if before != state:
                since, received = now, 0 if request is None else _received(connection.transport)
            waiting[connection] = state, since, received
            most = self._limits.header_seconds if in_head else self._limits.keep_alive_seconds
            if in_head:
                heads[connection] = _received(connection.transport) - received
            if now - since > most or heads.get(connection, 0) > self._limits.head_bytes:
                self._close(connection, "late")
        self._waiting = waiting
        total = sum(queued.values())
        for connection in sorted(queued, key=lambda connection: -queued[connection]):
            if total > self._limits.max_pipelined:
                self._close(connection, "too_many")
                total -= queued[connection]
        held, excess = sum(heads.values()), len(self) - self._limits.max_connections
        if excess > 0 or held > self._limits.max_head_bytes:
            for connection in sorted(waiting, key=lambda connection: waiting[connection][1]):
                if excess > 0 or (held > self._limits.max_head_bytes and heads.get(connection)):
                    self._close(connection, "gave_way")
                    excess, held = excess - 1, held - heads.get(connection, 0)

    def _close(self, connection: Any, reason: str) -> None:  # noqa: ANN401 - uvicorn's
        used_gateway_counts().count_end(reason)
        connection.transport.abort()


def _transport_of(receive: Receive) -> asyncio.Transport | None:
    return getattr(getattr(receive, "__self__", None), "transport", None)


def _received(transport: asyncio.Transport) -> int:
    """Return how many bytes uvicorn has read from a connection, without the bytes that the kernel still buffers."""
    with contextlib.suppress(OSError, AttributeError, struct.error):
        connection = transport.get_extra_info("socket")
        unread = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.FIONREAD, bytes(4)))[0]
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        return int(struct.unpack_from("Q", info, _RECEIVED_AT)[0]) - int(unread)
    return 0
