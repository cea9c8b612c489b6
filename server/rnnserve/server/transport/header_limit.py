"""Calls with more header fields than gRPC's core takes are refused before they are kept, on the public transport.

The core announces a limit of 16 kB, and keeps to it once the client has acknowledged its settings. Until then, which a
client can make for ever, the limit is 16 MB: a field of 4 kB that is sent once, and referred to by 4,000 bytes. grpcio
makes texts of all of them, and keeps these for as long as the call: 400 calls whose message never came took 1.6 GB.
"""

from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc

from rnnserve.server.errors import HeadersTooLarge

__all__ = ["MAX_HEADER_BYTES", "HeaderLimit"]

MAX_HEADER_BYTES = 16 << 10
"""As the core announces it: bytes of names and values, and 32 a field (RFC 9113, 6.5.2)."""

_FIELD_BYTES = 32

_HOSTILE_BYTES = 64 << 10
"""Above which the connection is ended, so that nothing more of it is read: with 0.7 microseconds for a field of one
byte, each call of 100 kB would stop everyone for 70 ms. No client that acknowledges settings comes as far."""


class HeaderLimit(grpc.GenericRpcHandler):
    """Handlers of a service, of which calls with too many header fields come to none."""

    def __init__(
        self,
        handlers: grpc.GenericRpcHandler,
        refusing: futures.ThreadPoolExecutor,
        end_connection: Callable[[str], None],
    ) -> None:
        """Limit the calls that come to handlers.

        Args:
            handlers: Of the service.
            refusing: Whose threads refuse.
            end_connection: Ends a connection, by its name.
        """
        self._handlers = handlers
        self._refusing = refusing
        self._end_connection = end_connection

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Give the handler of a call, or one that refuses it."""
        handler = self._handlers.service(handler_call_details)
        fields = handler_call_details.invocation_metadata
        size = sum([len(name) + len(value) + _FIELD_BYTES for name, value in fields])
        return handler if handler is None or size <= MAX_HEADER_BYTES else self._refuse(size)

    def _refuse(self, size: int) -> "grpc.RpcMethodHandler[bytes, bytes]":
        error = HeadersTooLarge(size, MAX_HEADER_BYTES)

        def refuse(_: Any, context: grpc.ServicerContext) -> bytes:  # noqa: ANN401 - messages that it does not take
            if size > _HOSTILE_BYTES:
                self._end_connection(context.peer())
            context.abort(grpc.StatusCode[error.status], str(error))
            raise error  # `abort` raises; this tells the type checker

        refuse.experimental_thread_pool = self._refusing  # type: ignore[attr-defined]
        return grpc.stream_unary_rpc_method_handler(refuse)
