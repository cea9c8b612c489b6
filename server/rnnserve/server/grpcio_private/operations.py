"""The operations of grpcio's core that the lane starts on calls: receive a message, send one, send a status."""

from typing import Any

import grpc

from rnnserve.server.errors import ServeError
from rnnserve.server.protocol.error_details import trailing_metadata

__all__ = ["Operations"]


class Operations:
    """Makes operations, and holds those that every answer has, made once.

    Calls may share these in flight: empty metadata and details own no memory, so that nothing is freed twice
    (`operation.pyx.pxi`), and the result of `close` is never read.

    Attributes:
        receive_message: Makes the operation that receives a message; its argument is 0.
        send_message: Makes the operation that sends a message; its arguments are the bytes and 0.
        no_metadata: The operation that begins a response.
        ok: The one that ends a call well.
        close: One that completes when a call closes. Only in a batch that ends the call.
    """

    __slots__ = ("_codes", "_cygrpc", "close", "no_metadata", "ok", "receive_message", "send_message")

    def __init__(self, cygrpc: Any) -> None:  # noqa: ANN401 - a module of C, without types
        """Look up what makes them.

        Args:
            cygrpc: The module `grpc._cython.cygrpc`.
        """
        self._cygrpc = cygrpc
        self._codes = {code.name: getattr(cygrpc.StatusCode, code.name.lower()) for code in grpc.StatusCode}
        self.receive_message = cygrpc.ReceiveMessageOperation
        self.send_message = cygrpc.SendMessageOperation
        self.no_metadata: object = cygrpc.SendInitialMetadataOperation((), 0)
        self.ok: object = cygrpc.SendStatusFromServerOperation((), cygrpc.StatusCode.ok, b"", 0)
        self.close = self.new_close()

    def new_close(self) -> object:
        """An operation that completes when a call closes, and tells whether it was cancelled."""
        return self._cygrpc.ReceiveCloseOnServerOperation(0)

    def status(self, error: ServeError | None, request_id: str = "") -> object:
        """The operation that ends a call: well, or with an error's status, and the request's id where that is known."""
        if error is None:
            return self.ok
        return self._cygrpc.SendStatusFromServerOperation(
            trailing_metadata(error, request_id), self._codes[error.status], str(error).encode(), 0
        )
