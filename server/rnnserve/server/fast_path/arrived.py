"""Requests that have arrived: let in by the gate, if there is one, and counted among the bytes in flight."""

from typing import Any

from rnnserve.protos.access_table import Need
from rnnserve.server.access.gate import Gate
from rnnserve.server.connections.byte_budget import LARGE, SMALL
from rnnserve.server.errors import InternalError, ServeError
from rnnserve.server.fast_path.calls import ArrivedRequest, CallHandler, UnaryCall
from rnnserve.server.fast_path.gateway_stream import GatewayBatch, GatewayRequest

__all__ = ["Arrivals"]


class Arrivals:
    """Says which calls and requests are handed on. For the thread that takes them."""

    def __init__(self, handler: CallHandler, gate: Gate | None) -> None:
        """Prepare.

        Args:
            handler: Handler of the requests: it takes large ones.
            gate: Gate that lets calls in, or None for all of them.
        """
        self._handler = handler
        self._gate = gate

    def lets_in(self, call: UnaryCall, metadata: Any) -> bool:  # noqa: ANN401 - grpcio's own
        """Let a call in whose message has not been received, or refuse it."""
        gate = self._gate
        assert gate is not None  # noqa: S101 - for the type checker
        try:
            grant = gate.known.get(gate.shown(metadata, call.certificate))
            if grant is None or not grant.infers_at_once:
                grant = gate.grant_with(Need.INFER, metadata, call.certificate)
        except ServeError as error:
            call.refuse(error)
            return False
        call.grant = grant
        grant.requests += 1
        return True

    def take(self, message: Any) -> list[ArrivedRequest]:  # noqa: ANN401 - a request, or many
        """Take a request's bytes from the budget; return it unless it was refused or handed on."""
        if type(message) is GatewayBatch:
            taken: list[ArrivedRequest] = []
            for request in message.requests:
                is_ready = self._gate is None and len(request.payload) <= SMALL
                taken += [request] if is_ready else self._take_one(request)
            return taken
        return self._take_one(message)

    def _take_one(self, request: ArrivedRequest) -> list[ArrivedRequest]:
        try:
            if self._gate is not None:
                self._let_request_in(self._gate, request)
            if len(request.payload) <= SMALL:
                return [request]
            request.hold(len(request.payload))
            if len(request.payload) <= LARGE:
                return [request]
            self._handler.take_large(request)
        except ServeError as error:
            request.refuse(error)
        except Exception as error:  # noqa: BLE001 - a defect must neither keep the caller waiting nor end the thread
            request.refuse(InternalError.hiding(error))
        return []

    def _let_request_in(self, gate: Gate, request: ArrivedRequest) -> None:
        """Let in a request of a stream, each of which is asked for itself."""
        if request.stream is not None:
            grant = request.stream.grant
            if grant is not None:
                grant.check(Need.INFER)
                request.let_in(grant)
        elif type(request) is GatewayRequest:
            request.let_in(gate.grant_with(Need.INFER, request.headers.items(), request.certificate))
