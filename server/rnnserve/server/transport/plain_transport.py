"""The plain transport (`--plain`): ordinary gRPC handlers in front of the dispatcher, for a grpcio that was not tested.

It uses grpcio's public API alone. Each request keeps a thread while it waits, and a stream's requests are answered one
after the other. It is several times slower than the fast path; answers have the same bytes.
"""

import math
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc

from rnnserve.protos.access_table import INFERENCE
from rnnserve.server.access.gate import Gate, Grant
from rnnserve.server.batching import MAX_REQUESTS
from rnnserve.server.clock import now
from rnnserve.server.connections.byte_budget import ByteBudget
from rnnserve.server.connections.private_socket import is_of_http
from rnnserve.server.counting.table import answering, count_http_answer, count_refusal
from rnnserve.server.errors import InternalError, ServeError
from rnnserve.server.fast_path.arrived import Arrivals
from rnnserve.server.fast_path.calls import ArrivedRequest, CallHandler, Door
from rnnserve.server.fast_path.varying_fields import find_varying_fields, read_id
from rnnserve.server.observing.observer import tell_refusal
from rnnserve.server.observing.origins import Origin
from rnnserve.server.protocol.responses import encode_stream_error, encode_stream_response, errors_end_stream
from rnnserve.server.protocol.sequences import StreamOwner
from rnnserve.server.transport.control import INFERENCE_SERVICE, Caller, abort

__all__ = ["PlainTransport"]

_THREADS = 512
"""Requests and streams at once, each with a thread. Beyond it: the next wait for a thread."""

_IDLE_SECONDS = 0.5
"""Seconds without a request after which the dispatcher frees what models have left that serve no more."""


class _PlainRequest(ArrivedRequest):
    """A request whose handler's thread waits for the answer."""

    __slots__ = ("_caller", "_is_ready", "_on_cancel", "error", "response")

    def __init__(
        self, door: Door, payload: bytes, deadline: float, caller: Caller, stream: StreamOwner | None = None
    ) -> None:
        super().__init__(door, payload, deadline, stream)
        self.response = b""
        self.error: ServeError | None = None
        self._caller = caller
        self._is_ready = threading.Event()
        self._on_cancel: Callable[[], None] | None = None

    def peer(self) -> str:
        if not self._connection:
            self._connection = self._caller.peer()
        return self._connection

    def origin(self) -> Origin:
        return self._caller.origin(read_id(self.payload))

    def watch(self, on_cancel: Callable[[], None]) -> None:
        self._on_cancel = on_cancel

    def cancel(self) -> None:
        """Note that the call has ended."""
        if not self.is_answered and self._on_cancel is not None:
            self._on_cancel()
        elif self.is_answered:
            self.let_go()

    def answer(self, payload: bytes) -> None:
        if self.is_counted(len(payload)) and not self.hold_response(payload):
            return
        if not self.is_answered:
            if is_of_http(self.peer()):
                count_http_answer(answering.counts)
            self.response = payload
            self._end()

    def refuse(self, error: ServeError) -> None:
        if not self.is_answered:
            self.let_go()
            count_refusal(error, is_http=is_of_http(self.peer()))
            error.request_id = tell_refusal(self, error)
            self.error = error
            self._end()

    def _end(self) -> None:
        self.is_answered = True
        self._is_ready.set()

    def wait(self) -> ServeError | None:
        """Wait for the answer; return the error if it is one."""
        self._is_ready.wait()
        return self.error


class PlainTransport:
    """Serves ModelInfer and ModelStreamInfer of a `grpc.Server` that has not been started.

    Attributes:
        budget: Budget of the bytes that its calls hold.
    """

    def __init__(self, server: grpc.Server, handler: CallHandler, budget: ByteBudget, gate: Gate | None) -> None:
        """Add the handlers.

        Args:
            server: The server.
            handler: The handler, which answers the requests.
            budget: Budget of the bytes that its calls hold.
            gate: Gate that lets calls in, or None for all of them.
        """
        self.budget = budget
        self._gate = gate
        self._handler = handler
        self._arrivals = Arrivals(handler, gate)
        self._inbox: queue.SimpleQueue[ArrivedRequest | None] = queue.SimpleQueue()
        self._end_error: ServeError | None = None
        self._in_flight = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._loop, name="dispatcher", daemon=True)

        def infer(payload: bytes, context: grpc.ServicerContext) -> bytes:
            return self._infer(payload, context)

        def infer_stream(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            return self._infer_stream(messages, context)

        pool = futures.ThreadPoolExecutor(_THREADS, "plain")
        infer.experimental_thread_pool = pool  # type: ignore[attr-defined]
        infer_stream.experimental_thread_pool = pool  # type: ignore[attr-defined]
        handlers: dict[str, Any] = {
            "ModelInfer": grpc.unary_unary_rpc_method_handler(infer),
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(infer_stream),
        }
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(INFERENCE_SERVICE, handlers)])

    @property
    def in_flight(self) -> int:
        """How many requests have arrived, and have not been answered."""
        return self._in_flight

    failure: Exception | None = None
    is_receiving = False  # gRPC has received a message when its handler is called

    def hold(self) -> None:
        """Nothing: the handlers' threads wait."""

    release = stop_accepting = end_revoked = hold

    def end_late(self, _: int) -> int:
        """End no call: none waits for its message here."""
        return 0

    def start(self) -> None:
        """Begin to dispatch."""
        self._thread.start()

    def end_streams(self, error: ServeError) -> None:
        """End every stream with its next request."""
        self._end_error = error

    def join(self, timeout: float | None = None) -> bool:
        """End the dispatcher, after the server has been stopped; return whether it has ended."""
        self._inbox.put(None)
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _infer(self, payload: bytes, context: grpc.ServicerContext) -> bytes:
        caller = Caller(context, "ModelInfer")
        try:
            caller.grant = self._admit(caller, context, "ModelInfer")
            request = _PlainRequest(self, payload, _deadline(context), caller)
            if caller.grant is not None:
                request.let_in(caller.grant)
        except Exception as defect:  # noqa: BLE001 - a defect must neither reach a caller nor end the thread
            abort(context, caller, defect)
        if not context.add_callback(request.cancel):
            return b""  # the call has ended
        error = self._run(request)
        if error is not None:
            abort(context, caller, error, is_counted=True)
        return request.response

    def _infer_stream(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        caller, stream = Caller(context, "ModelStreamInfer"), StreamOwner()
        errors_end = errors_end_stream(context.invocation_metadata())
        under_way: list[_PlainRequest] = []

        def close() -> None:
            stream.is_open = False
            for request in under_way:
                request.cancel()

        try:
            caller.grant = stream.grant = self._admit(caller, context, "ModelStreamInfer")
            if not context.add_callback(close):
                return
            for payload in messages:
                if self._end_error is not None:
                    abort(context, caller, self._end_error)
                request = _PlainRequest(self, payload, _deadline(context), caller, stream)
                under_way[:] = [request]
                start, id_end, _ = find_varying_fields(payload)
                error = self._run(request)
                if error is not None and errors_end:
                    abort(context, caller, error, is_counted=True)
                if error is not None:
                    yield encode_stream_error(error, payload[start:id_end])
                else:
                    yield encode_stream_response(request.response)
                request.let_go()
        except ServeError as refusal:
            abort(context, caller, refusal)
        except grpc.RpcError:
            return  # the call has ended

    def _admit(self, caller: Caller, context: grpc.ServicerContext, method: str) -> Grant | None:
        gate = self._gate
        return (
            None
            if gate is None
            else gate.admit(f"{INFERENCE}{method}", context.invocation_metadata(), caller.certificate)
        )

    def _run(self, request: _PlainRequest) -> ServeError | None:
        """Have a request answered; return the error if it was refused."""
        with self._lock:
            self._in_flight += 1
        self._inbox.put(request)
        error = request.wait()
        with self._lock:
            self._in_flight -= 1
        return error

    def _loop(self) -> None:
        """Hand on what has arrived, as the fast path does."""
        has_work = False
        while True:
            arrived: list[ArrivedRequest] = []
            try:
                while len(arrived) < MAX_REQUESTS:
                    request = self._inbox.get(not (has_work or arrived), _IDLE_SECONDS)
                    if request is None:
                        return
                    arrived += self._arrivals.take(request)
            except queue.Empty:
                pass
            try:
                self._handler.take(arrived)
                has_work = self._handler.work()
            except Exception as error:  # noqa: BLE001 - a defect must neither keep callers waiting nor end the thread
                hidden = InternalError.hiding(error)
                for request in arrived:
                    request.refuse(hidden)


def _deadline(context: grpc.ServicerContext) -> float:
    remaining = context.time_remaining()
    return math.inf if remaining is None else now() + remaining
