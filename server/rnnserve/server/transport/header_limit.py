"""Calls with more header fields than gRPC's core takes are refused before they are kept, on the public transport.

The core announces a limit of 16 kB, and keeps to it once the client has acknowledged its settings. Until then, which a
client can make for ever, the limit is 16 MB: a field of 4 kB that is sent once, and referred to by 4,000 bytes. grpcio
makes texts of all of them, and keeps these for as long as the call: 400 calls whose message never came took 1.6 GB.

With more than any client sends by mistake, the connection is ended, and until it is, no further call is taken. grpcio
holds Python's lock while it makes the texts of a call, 50 ms for 15,000 fields. The thread that ends the connection
would wait for the lock at each of its system calls: 2.7 s, and 1.5 GB of texts, in one run of three.
"""

import threading
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc

from rnnserve.server.errors import HeadersTooLarge

__all__ = ["MAX_HEADER_BYTES", "HeaderLimit", "HostileConnections"]

MAX_HEADER_BYTES = 16 << 10
"""As the core announces it: bytes of names and values, and 32 a field (RFC 9113, 6.5.2)."""

_FIELD_BYTES = 32

_HOSTILE_BYTES = 64 << 10
"""Above which the connection is ended, so that nothing more of it is read: with 0.7 microseconds for a field of one
byte, each call of 100 kB would stop everyone for 70 ms. No client that acknowledges settings comes as far."""


_LONGEST_SECONDS = 0.05
"""Seconds that others wait for a connection to be ended: 2 ms are enough, but where it is one of thousands."""


class HostileConnections:
    """Ends connections on a thread of its own, while the threads that take calls wait.

    Attributes:
        thread: The thread, which refuses calls, too.
    """

    def __init__(self, end: Callable[[str], None]) -> None:
        """Start without any.

        Args:
            end: Ends a connection, by its name.
        """
        self.thread = futures.ThreadPoolExecutor(1, thread_name_prefix="refusing")
        self._end = end
        self._has_ended = threading.Event()
        self._has_ended.set()

    def expect(self) -> None:
        """Note that a connection is about to be ended."""
        self._has_ended.clear()

    def wait(self) -> None:
        """Wait until such a connection has been ended, but not for long."""
        if not self._has_ended.is_set():
            self._has_ended.wait(_LONGEST_SECONDS)
            self._has_ended.set()

    def end(self, peer: str) -> None:
        """End a connection. On the thread."""
        try:
            self._end(peer)
        finally:
            self._has_ended.set()

    def end_and_wait(self, peer: str) -> None:
        """End a connection, on the thread, and wait for that, but not for long."""
        self.expect()
        self.thread.submit(self.end, peer)
        self.wait()


class HeaderLimit(grpc.GenericRpcHandler):
    """Handlers of a service, of which calls with too many header fields come to none."""

    def __init__(self, handlers: grpc.GenericRpcHandler, connections: HostileConnections) -> None:
        """Limit the calls that come to handlers.

        Args:
            handlers: Of the service.
            connections: Ends those of calls with far too many; of all services of a server.
        """
        self._handlers = handlers
        self._connections = connections

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Give the handler of a call, or one that refuses it."""
        self._connections.wait()
        handler = self._handlers.service(handler_call_details)
        fields = handler_call_details.invocation_metadata
        size = _FIELD_BYTES * len(fields)
        if size <= _HOSTILE_BYTES:  # else the rest says nothing new, and takes 5 ms for 100,000
            size += sum([len(name) + len(value) for name, value in fields])
        return handler if handler is None or size <= MAX_HEADER_BYTES else self._refuse(size)

    def _refuse(self, size: int) -> "grpc.RpcMethodHandler[bytes, bytes]":
        error = HeadersTooLarge(size, MAX_HEADER_BYTES)
        is_hostile = size > _HOSTILE_BYTES
        if is_hostile:
            self._connections.expect()

        def refuse(_: Any, context: grpc.ServicerContext) -> bytes:  # noqa: ANN401 - messages that it does not take
            if is_hostile:
                self._connections.end(context.peer())
            context.abort(grpc.StatusCode[error.status], str(error))
            raise error  # `abort` raises; this tells the type checker

        refuse.experimental_thread_pool = self._connections.thread  # type: ignore[attr-defined]
        return grpc.stream_unary_rpc_method_handler(refuse)
