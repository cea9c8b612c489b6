"""The native transport (`--transport native`): ModelInfer over gRPC in Rust, with the same dispatcher.

pygrpc-native reads and writes HTTP/2 outside the GIL, and its public API returns all arrived calls as one list. It
supports neither TLS nor request streams, so every other method goes to grpcio's server on a Unix socket behind it. It
doesn't limit the size of a message, and doesn't report when a response has been sent: it is only for trusted networks
(SECURITY.md).
"""

import functools
import importlib.util
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import grpc

from rnnserve.common.extras import missing_package
from rnnserve.protos.access_table import INFERENCE
from rnnserve.protos.protocol_words import FRONT_EXCHANGE
from rnnserve.server.access.gate import Gate
from rnnserve.server.batching import MAX_REQUESTS
from rnnserve.server.batching.schedulers import Schedulers
from rnnserve.server.clock import NO_DEADLINE, now
from rnnserve.server.connections.byte_budget import SMALL
from rnnserve.server.errors import InternalError, ServeError, ShuttingDown, StartError
from rnnserve.server.fast_path.calls import Arrivals, ArrivedRequest
from rnnserve.server.fast_path.dispatcher import Dispatcher
from rnnserve.server.fast_path.fast_path import FastPath
from rnnserve.server.fast_path.grpcio_core import ArrivalPace
from rnnserve.server.fast_path.templates import read_id
from rnnserve.server.observing.origins import MANY_FIELDS, Origin, kept_metadata, origin_of
from rnnserve.server.protocol.responses import trailing_metadata
from rnnserve.server.protocol.service import Service

if TYPE_CHECKING:
    from pygrpc_native import NativeGrpcFront

__all__ = ["NativeTransport", "SharedDispatcher"]

_METHODS = ((f"{INFERENCE}ModelInfer", False), (FRONT_EXCHANGE, True))
"""The methods that grpcio's server doesn't get. The second one is only for the HTTP gateway, on its private socket."""

_NOT_YOURS = (grpc.StatusCode.UNIMPLEMENTED.value[0], "only the server's own HTTP gateway may call this method")

_IO_THREADS, _IDLE_MS = 1, 500
"""Threads that read and write HTTP/2; maximum milliseconds of a wait for calls, after which periodic work is done."""

_FLUSH_SECONDS = 0.05
"""Seconds to wait after the last response so that it is written, because its completion isn't reported."""


class SharedDispatcher(Dispatcher):
    """A dispatcher for two threads, the native transport's and the fast path's, which take turns."""

    def __init__(self, service: Service, schedulers: Schedulers) -> None:
        super().__init__(service, schedulers)
        self._turn = threading.Lock()

    def take(self, arrived: list[ArrivedRequest]) -> None:
        """Take requests as `Dispatcher.take` does, while holding the turn."""
        with self._turn:
            self._thread = threading.get_ident()
            super().take(arrived)

    def work(self) -> bool:
        """Run a batch as `Dispatcher.work` does, while holding the turn."""
        with self._turn:
            self._thread = threading.get_ident()
            return super().work()


class _NativeCall(ArrivedRequest):
    """A ModelInfer call, which pygrpc-native identifies by a number."""

    __slots__ = ("_call_id", "_metadata", "on_cancel")

    _door: "NativeTransport"
    stream = None

    def __init__(
        self,
        door: "NativeTransport",
        call_id: int,
        payload: bytes,
        connection: str,
        deadline: float,
        metadata: Sequence[Any],
    ) -> None:
        self._door = door  # without `super().__init__`, which costs half a microsecond per request
        self.payload = payload
        self.deadline = deadline
        self.is_answered = False
        self.held_bytes = 0
        self.grant = None
        self._connection = connection
        self._room = 0
        self._call_id = call_id
        self._metadata = metadata
        self.on_cancel: Callable[[], object] = int  # called if the client disconnects or its deadline passes

    def origin(self) -> Origin:
        return origin_of(self._connection, self._metadata, read_id(self.payload), "ModelInfer")

    def certificate(self) -> str:
        """Return an empty string, because the transport doesn't support TLS."""
        return ""

    def watch(self, on_cancel: Callable[[], None]) -> None:
        self.on_cancel = on_cancel
        if self._call_id not in self._door.calls:
            on_cancel()

    def answer(self, payload: bytes) -> None:
        if (len(payload) > SMALL or self.held_bytes) and not self.hold_response(payload):
            return
        if self.is_answered:
            return
        self.is_answered = True
        self.payload = b""
        self._door.calls.pop(self._call_id, None)
        self._door.front.respond(self._call_id, payload)
        if self.held_bytes:
            self.let_go()

    def _send_error(self, error: ServeError, request_id: str) -> None:
        self._door.calls.pop(self._call_id, None)
        code = grpc.StatusCode[error.status].value[0]
        self._door.front.fail(self._call_id, code, str(error), trailing_metadata(error, request_id))


class NativeTransport:
    """Serves ModelInfer, and forwards all other calls to the fast path's server. Replaces the fast path."""

    def __init__(self, fast_path: FastPath, handler: Dispatcher, gate: Gate | None) -> None:
        """Create the transport. `listen` binds the port. Raises StartError if pygrpc-native isn't installed."""
        if importlib.util.find_spec("pygrpc_native") is None:
            raise StartError(f"--transport native {missing_package('pygrpc-native', 'native')}")
        self.budget = fast_path.budget
        self.calls: dict[int, _NativeCall] = {}  # by number, until answered or cancelled
        self.front: NativeGrpcFront
        self._fast_path = fast_path
        self._handler = handler
        self._gate = gate
        self._arrivals = Arrivals(handler.take_large, gate)
        self._folder = tempfile.TemporaryDirectory(prefix="rnnserve-")
        self.fallback = f"unix:{self._folder.name}/grpc.sock"  # the address for grpcio's server
        self._failure: Exception | None = None
        self._is_ending = False
        self._pace = ArrivalPace()
        self._thread = threading.Thread(target=self._run, name="native transport", daemon=True)
        self.hold, self.release = fast_path.hold, fast_path.release
        self.end_streams, self.end_revoked = fast_path.end_streams, fast_path.end_revoked

    def listen(self, address: str, *, share_port: bool) -> int:
        """Bind a port, listen, and return its number. Raises StartError if the port cannot be used."""
        native = importlib.import_module("pygrpc_native")
        try:
            self.front = native.NativeGrpcFront(
                address, _METHODS, io_threads=_IO_THREADS, call_details=True, reuse_port=share_port
            )
        except OSError as error:
            raise StartError(f"cannot listen on {address}: {error}") from error
        self.front.set_fallback(self.fallback.removeprefix("unix:"))
        return self.front.bound_port

    @property
    def failure(self) -> Exception | None:
        """The error that ended a thread that receives requests, or None while both run."""
        return self._failure or self._fast_path.failure

    @property
    def in_flight(self) -> int:
        """Number of unanswered requests."""
        return len(self.calls) + self._fast_path.in_flight

    def start(self) -> None:
        """Start serving."""
        self._fast_path.start()
        self.front.start()
        self._thread.start()

    def stop_accepting(self) -> None:
        """Refuse calls that arrive from now on with UNAVAILABLE."""
        self._is_ending = True
        self._fast_path.stop_accepting()

    def join(self, timeout: float | None = None) -> bool:
        """Wait at most `timeout` seconds for pending calls, and end. Return whether everything has ended."""
        until = NO_DEADLINE if timeout is None else now() + timeout
        while self.calls and now() < until:
            time.sleep(1e-3)
        has_ended = not self.calls
        if self._thread.ident is not None:
            time.sleep(_FLUSH_SECONDS)
            self.front.close()
            self._thread.join(timeout)
        is_over = self._fast_path.join(max(0.0, until - now()))
        self._folder.cleanup()
        return has_ended and is_over and not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._loop()
        except Exception as error:  # noqa: BLE001 - `failure` is reported by the code that watches the thread
            self._failure = error

    def _loop(self) -> None:
        receive = functools.partial(self.front.recv_batch_details, MAX_REQUESTS)
        pace, has_work, nap = self._pace, False, 0.0
        while (events := receive(0 if has_work or pace.look_until else _IDLE_MS)) is not None:
            if not events and not has_work and pace.look_until:
                pace.look_until = pace.look_until if now() <= pace.look_until else 0.0
                continue
            arrived: list[ArrivedRequest] = []
            for _, call_id, method, payload, _, details in events:
                if payload is None or details is None:  # a cancellation
                    if (cancelled := self.calls.pop(call_id, None)) is not None:
                        cancelled.on_cancel()
                elif method:
                    self.front.fail(call_id, *_NOT_YOURS)
                else:
                    self._take(call_id, payload, details, arrived)
            try:
                if arrived:
                    pace.note(arrived)
                self._handler.take(arrived)
                has_work = self._handler.work()
                nap = 0.0 if has_work else self._handler.nap_seconds(len(self.calls))
            except Exception as error:  # noqa: BLE001 - a defect must not leave callers waiting or end the thread
                hidden = InternalError.hiding(error)
                for request in arrived:
                    request.refuse(hidden)
                has_work = True
            if nap:
                time.sleep(nap)

    def _take(self, call_id: int, payload: bytes, details: Sequence[Any], arrived: list[ArrivedRequest]) -> None:
        """Take a call: append it to `arrived`, refuse it, or pass it to the thread for large requests."""
        metadata, connection, remaining = details
        deadline = NO_DEADLINE if remaining is None else now() + remaining
        kept = metadata if len(metadata) <= MANY_FIELDS else kept_metadata(metadata)
        call = self.calls[call_id] = _NativeCall(self, call_id, payload, connection, deadline, kept)
        if self._is_ending:
            call.refuse(ShuttingDown("the server is shutting down; send the request again"))
        elif self._gate is None and len(payload) <= SMALL:
            arrived.append(call)
        elif self._gate is None or self._arrivals.lets_in(call, metadata):
            arrived += self._arrivals.take(call)
