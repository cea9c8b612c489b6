"""The plain transport (`--plain`): ordinary gRPC handlers with the same dispatcher, for untested versions of grpcio.

It uses only grpcio's public API. Each request occupies a thread while it waits, and a stream's requests are answered
one after another. It is several times slower than the fast path, but its responses have the same bytes.
"""

import contextlib
import math
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from rnnserve.protos.access_table import INFERENCE, Need
from rnnserve.server.access.gate import Gate
from rnnserve.server.batching import MAX_REQUESTS
from rnnserve.server.clock import now
from rnnserve.server.connections.byte_budget import ByteBudget
from rnnserve.server.connections.private_socket import is_of_http
from rnnserve.server.counting.table import answering, count_http_answer
from rnnserve.server.errors import InternalError, ServeError
from rnnserve.server.fast_path.calls import Arrivals, ArrivedRequest, Door
from rnnserve.server.fast_path.dispatcher import Dispatcher
from rnnserve.server.fast_path.templates import find_varying_fields, read_id
from rnnserve.server.observing.origins import Origin
from rnnserve.server.protocol.responses import encode_stream_error, encode_stream_response, errors_end_stream
from rnnserve.server.protocol.sequences import StreamOwner
from rnnserve.server.transport.control import INFERENCE_SERVICE, Caller, abort

__all__ = ["PlainTransport"]


class _PlainRequest(ArrivedRequest):
    """A request whose handler's thread waits until `is_ready` is set."""

    __slots__ = ("_caller", "_on_cancel", "is_ready", "outcome")

    def __init__(self, door: Door, payload: bytes, caller: Caller, stream: StreamOwner | None = None) -> None:
        remaining = caller.context.time_remaining()
        super().__init__(door, payload, math.inf if remaining is None else now() + remaining, stream)
        self.outcome: bytes | ServeError = b""
        self.is_ready = threading.Event()
        self._caller = caller
        self._connection = caller.peer()
        self._on_cancel: Callable[[], None] | None = None

    def origin(self) -> Origin:
        return self._caller.origin(read_id(self.payload))

    def watch(self, on_cancel: Callable[[], None]) -> None:
        self._on_cancel = on_cancel

    def end(self) -> None:
        """Record that the call has ended."""
        if self.is_answered:
            self.let_go()
        elif self._on_cancel is not None:
            self._on_cancel()

    def answer(self, payload: bytes) -> None:
        if self.is_answered or (self.is_counted(len(payload)) and not self.hold_response(payload)):
            return
        if is_of_http(self.peer()):
            count_http_answer(answering.counts)
        self.outcome, self.is_answered = payload, True
        self.is_ready.set()

    def _send_error(self, error: ServeError, request_id: str) -> None:
        error.request_id = request_id
        self.outcome = error
        self.is_ready.set()


class PlainTransport:
    """Serves ModelInfer and ModelStreamInfer of a `grpc.Server` that hasn't been started. Replaces a `FastPath`."""

    failure: Exception | None = None

    def __init__(self, server: grpc.Server, handler: Dispatcher, budget: ByteBudget, gate: Gate | None) -> None:
        self.budget = budget
        self._gate = gate
        self._handler = handler
        self._arrivals = Arrivals(handler.take_large, gate)
        self._inbox: queue.SimpleQueue[ArrivedRequest | None] = queue.SimpleQueue()
        self._end_error: ServeError | None = None
        self._in_flight: set[ArrivedRequest] = set()
        self._streams: dict[StreamOwner, grpc.ServicerContext] = {}
        self._thread = threading.Thread(target=self._loop, name="dispatcher", daemon=True)
        self.start = self._thread.start
        handlers: dict[str, Any] = {
            "ModelInfer": grpc.unary_unary_rpc_method_handler(self._infer),
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(self._infer_stream),
        }
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(INFERENCE_SERVICE, handlers)])

    @property
    def in_flight(self) -> int:
        """Number of unanswered requests."""
        return len(self._in_flight)

    def hold(self) -> None:
        """Do nothing, because the handlers' threads wait."""

    release = stop_accepting = hold

    def end_revoked(self) -> None:
        """Cancel the streams whose tokens have become invalid for inference."""
        for stream, context in list(self._streams.items()):
            if stream.grant is not None and not stream.grant.admits(Need.INFER):
                context.cancel()

    def end_streams(self, error: ServeError) -> None:
        """End each stream at its next request."""
        self._end_error = error

    def join(self, timeout: float | None = None) -> bool:
        """End the dispatcher after the server has stopped. Return whether it has ended."""
        self._inbox.put(None)
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _infer(self, payload: bytes, context: grpc.ServicerContext) -> bytes:
        caller = Caller(context, f"{INFERENCE}ModelInfer")
        try:
            grant = caller.admit(self._gate)
            request = _PlainRequest(self, payload, caller)
            if grant is not None:
                request.let_in(grant)
            outcome = self._answer(request) if context.add_callback(request.end) else b""
        except Exception as refusal:  # noqa: BLE001 - a defect must not reach a caller or end the thread
            abort(caller, refusal)
        if isinstance(outcome, ServeError):
            abort(caller, outcome)
        return outcome

    def _infer_stream(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        caller, stream = Caller(context, f"{INFERENCE}ModelStreamInfer"), StreamOwner()
        request: _PlainRequest | None = None

        def close() -> None:
            stream.is_open = False
            self._streams.pop(stream, None)
            if request is not None:
                request.end()

        try:
            stream.grant = caller.admit(self._gate)
            self._streams[stream] = context
            if not context.add_callback(close):
                close()
                return
            for payload in messages:
                if (over := self._end_error) is not None:
                    raise type(over)(str(over))  # noqa: TRY301 - each stream is counted
                request = _PlainRequest(self, payload, caller, stream)
                outcome = self._answer(request)
                if isinstance(outcome, bytes):
                    yield encode_stream_response(outcome)
                elif errors_end_stream(context.invocation_metadata()):
                    raise outcome  # noqa: TRY301 - as above
                else:
                    start, id_end, _ = find_varying_fields(payload)
                    yield encode_stream_error(outcome, payload[start:id_end])
                request.let_go()
        except grpc.RpcError:
            return  # the call has ended
        except Exception as refusal:  # noqa: BLE001 - as above
            abort(caller, refusal)

    def _answer(self, request: _PlainRequest) -> bytes | ServeError:
        """Queue a request and wait until it is answered or refused."""
        self._in_flight.add(request)
        self._inbox.put(request)
        request.is_ready.wait()
        self._in_flight.discard(request)
        return request.outcome

    def _loop(self) -> None:
        """Dispatch arrived requests as the fast path does."""
        has_work = False
        while True:
            arrived: list[ArrivedRequest] = []
            with contextlib.suppress(queue.Empty):  # twice a second, the dispatcher frees unserved models
                while len(arrived) < MAX_REQUESTS:
                    request = self._inbox.get(not (has_work or arrived), 0.5)
                    if request is None:
                        return
                    arrived += self._arrivals.take(request)
            try:
                self._handler.take(arrived)
                has_work = self._handler.work()
            except Exception as error:  # noqa: BLE001 - a defect must not leave callers waiting or end the thread
                hidden = InternalError.hiding(error)
                for request in arrived:
                    request.refuse(hidden)
