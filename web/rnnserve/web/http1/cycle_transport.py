"""The transport as a request's cycle sees it (`uvicorn.protocols.http.httptools_impl.RequestResponseCycle`)."""

import asyncio
from typing import Any, Protocol

from rnnserve.web.http1.write_progress import WriteProgress

__all__ = ["CycleTransport"]

_LARGE = 64 << 10
"""Bytes of a body that is not copied to be written with its head."""


class _Connection(Protocol):
    """The protocol of the connection, as far as it is told.

    Attributes:
        transport: asyncio's.
        written: What has been given to it.
    """

    transport: asyncio.Transport
    written: WriteProgress

    def linger(self) -> None:
        """Close once the client has read the answer."""


class CycleTransport:
    """Writes for one request.

    The head of an answer is written together with what follows it: a system call is what an answer costs most. And
    where the cycle closes before all of the request has come, the connection lingers.
    """

    __slots__ = ("_connection", "_cycle", "_head", "_transport", "_written")

    def __init__(self, connection: _Connection, cycle: Any) -> None:  # noqa: ANN401 - uvicorn's own
        """Begin without a head.

        Args:
            connection: Connection of the request.
            cycle: Uvicorn's cycle of the request.
        """
        self._connection = connection
        self._cycle = cycle
        self._transport = connection.transport
        self._written = connection.written
        self._head: bytes | None = b""  # None once it has been written; empty before there is one

    def write(self, data: bytes) -> None:
        """Write, or keep a head for what follows it."""
        if self._head is None or not self._cycle.response_started:
            self._transport.write(data)
        elif not self._head:
            self._head = data
        elif len(data) > _LARGE:
            self.flush()
            self._transport.write(data)
        else:
            self._transport.write(self._head + data)
            self._head = None
        self._written.sent += len(data)

    def flush(self) -> None:
        """Write a head that nothing follows."""
        if self._head:
            self._transport.write(self._head)
            self._head = None

    def is_closing(self) -> bool:
        """Whether the connection ends."""
        return self._transport.is_closing()

    def close(self) -> None:
        """End the connection, once the client has read the answer."""
        self.flush()
        if self._cycle.more_body:
            self._connection.linger()
        else:
            self._transport.close()
