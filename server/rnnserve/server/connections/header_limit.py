"""Calls with more header fields than gRPC's core takes are refused before they are kept, on the public transport.

The core announces a limit of 16 kB, and keeps to it once the client has acknowledged its settings. Until then, which a
client can make for ever, the limit is 16 MB: a field of 4 kB that is sent once, and referred to by 4,000 bytes. grpcio
makes texts of all of them, and keeps these for as long as the call: 400 calls whose message never came took 1.6 GB.

With more than any client sends by mistake, the connection is ended before grpcio's serving thread does anything else.
That makes the texts of a call with Python's lock held, 50 ms for 15,000 fields, and a thread that ended the connection
beside it would wait for the lock at each of its system calls: 2.7 s, and 1.5 GB of texts, in one run of three.
"""

import contextlib
import logging
from collections.abc import Callable
from concurrent import futures
from typing import Any, ParamSpec, TypeVar

import grpc

from rnnserve.server.connections.pooled_call import connection_of
from rnnserve.server.errors import HeadersTooLarge

__all__ = ["MAX_HEADER_BYTES", "HeaderLimit", "HostileConnections"]

_log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

MAX_HEADER_BYTES = 16 << 10
"""Bytes of the header fields of a call, as the core announces it: of names and values, and 32 a field (RFC 9113,
6.5.2). Beyond it: RESOURCE_EXHAUSTED, each time."""

_FIELD_BYTES = 32

_HOSTILE_BYTES = 64 << 10
"""Bytes of header fields of a client that acknowledges no settings: nothing more of its connection is read. With 0.7
microseconds for a field of one byte, each call of 100 kB would stop everyone for 70 ms. No client that acknowledges
settings comes as far. Beyond it: the connection is ended."""


_LONGEST_SECONDS = 0.05
"""Seconds that others wait for a connection to be ended: 2 ms are enough, but where it is one of thousands."""


class HostileConnections:
    """Ends connections on a thread of its own, while the thread that has taken a call from one waits.

    Attributes:
        thread: The thread, which refuses calls, too.
        refusing: The same, for calls whose connection is ended before anything else.
    """

    def __init__(self, end: Callable[[str], None], *, longest_seconds: float = _LONGEST_SECONDS) -> None:
        """Start without any.

        Args:
            end: A function that ends a connection, by its name.
            longest_seconds: Seconds that others wait for a connection to be ended.
        """
        self.thread = futures.ThreadPoolExecutor(1, thread_name_prefix="refusing")
        self.refusing = _EndingFirst(self)
        self._end = end
        self._longest_seconds = longest_seconds

    def end_and_wait(self, peer: str) -> None:
        """End a connection, on the thread, and wait for that, but not for long."""
        with contextlib.suppress(TimeoutError):
            self.thread.submit(self._end_or_log, peer).result(self._longest_seconds)

    def _end_or_log(self, peer: str) -> None:
        try:
            self._end(peer)
        except OSError as error:
            _log.warning("cannot end the connection %s: %s", peer, error)


class _EndingFirst(futures.ThreadPoolExecutor):
    """Where grpcio leaves a call to a pool, it names the call, so that its connection can be ended there and then."""

    def __init__(self, connections: HostileConnections) -> None:
        super().__init__(1)  # it starts no thread
        self._connections = connections

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> futures.Future[R]:
        """End a call's connection, and have the call refused."""
        self._connections.end_and_wait(connection_of(args))
        return self._connections.thread.submit(fn, *args, **kwargs)


class HeaderLimit(grpc.GenericRpcHandler):
    """Handlers of a service, of which calls with too many header fields come to none."""

    def __init__(self, handlers: grpc.GenericRpcHandler, connections: HostileConnections) -> None:
        """Limit the calls that come to handlers.

        Args:
            handlers: Handlers of the service.
            connections: The ender of connections whose calls have far too many; one for all services of a server.
        """
        self._handlers = handlers
        self._connections = connections

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Give the handler of a call, or one that refuses it."""
        handler = self._handlers.service(handler_call_details)
        fields = handler_call_details.invocation_metadata
        size = _FIELD_BYTES * len(fields)
        if size <= _HOSTILE_BYTES:  # else the rest says nothing new, and takes 5 ms for 100,000
            size += sum([len(name) + len(value) for name, value in fields])
        return handler if handler is None or size <= MAX_HEADER_BYTES else self._refuse(size)

    def _refuse(self, size: int) -> "grpc.RpcMethodHandler[bytes, bytes]":
        error = HeadersTooLarge(size, MAX_HEADER_BYTES)
        pool = self._connections.refusing if size > _HOSTILE_BYTES else self._connections.thread

        def refuse(_: Any, context: grpc.ServicerContext) -> bytes:  # noqa: ANN401 - messages that it does not take
            context.abort(grpc.StatusCode[error.status], str(error))
            raise error  # `abort` raises; this tells the type checker

        refuse.experimental_thread_pool = pool  # type: ignore[attr-defined]
        return grpc.stream_unary_rpc_method_handler(refuse)
