"""The fast path serves ModelInfer and ModelStreamInfer of a `grpc.Server` on one thread with its own completion queue.

The thread takes all arrived requests and dispatches them as one list. grpcio's own threads still handle the
port, TLS, limits and all other methods.

The events of a call: one event announces the call. One batch of operations receives its message. One batch sends the
response and status. If a cancellation must be noticed, a third batch waits for the call to close. Otherwise that
operation is part of the last batch, which saves an event per request. For the events of a stream, see `streams`.

At each start, `check_fast_path` sends a request and a stream through a separate fast path.
"""

import contextlib
import functools
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc

from rnnserve.protos.access_table import Need
from rnnserve.protos.protocol_words import PEER
from rnnserve.server.access.gate import Gate
from rnnserve.server.batching import MAX_REQUESTS
from rnnserve.server.clock import NO_DEADLINE, from_wall_clock
from rnnserve.server.clock import now as clock_now
from rnnserve.server.connections.byte_budget import SMALL, ByteBudget
from rnnserve.server.connections.private_socket import is_private
from rnnserve.server.errors import InternalError, ServeError, StartError, TooManyStreams, Unsupported
from rnnserve.server.fast_path.calls import Arrivals, ArrivedRequest, UnaryCall, certificate_of
from rnnserve.server.fast_path.dispatcher import Dispatcher
from rnnserve.server.fast_path.gateway_stream import GatewayStream
from rnnserve.server.fast_path.grpcio_core import LONG_AGO, ArrivalPace, GrpcioCore, unusable
from rnnserve.server.fast_path.streams import RequestStream
from rnnserve.server.observing.origins import MANY_FIELDS, kept_metadata
from rnnserve.server.protocol.responses import encode_stream_response

__all__ = ["FastPath", "check_fast_path"]

_IDLE_SECONDS = 0.5
"""Maximum seconds that the thread waits for events before it does periodic work. grpcio's own wait checks for signals
every 0.2 s, so this doesn't wake the process more often."""

_OUTSTANDING, _OUTSTANDING_STREAMS = MAX_REQUESTS, 64
"""Number of calls, and of streams, that can arrive between two polls of the queue without waiting to be accepted."""

_MEMORY_IS_SHORT = "the server is low on memory; send requests more slowly"
_SILENT_SECONDS = 0.1
"""If memory is short, a stream without a message for this many seconds is ended."""

_SELF_TEST_SECONDS = 5.0
"""Timeout of the self-test's responses in seconds. They usually take some milliseconds."""

_ACCEPT = object()
"""Tag of the events that announce a new unary call."""


class FastPath:
    """Serves a unary method, and its streaming variant, of a server that hasn't been started yet."""

    def __init__(
        self,
        server: grpc.Server,
        method: str,
        handler: Dispatcher,
        budget: ByteBudget,
        *,
        stream_method: str = "",
        max_streams: int = 0,
        max_in_flight: int = 1024,
        gateway_method: str = "",
        gate: Gate | None = None,
    ) -> None:
        """Register the methods by full name. `start` begins to serve them after the server has been started.

        One connection may have half of `max_streams`. All of its streams together may have `max_in_flight` requests in
        flight. If there is a `gateway_method`, the metadata of calls over the private socket name the client. Raises
        StartError if this grpcio lacks a required part.
        """
        self._pace = ArrivalPace()
        self.core = GrpcioCore(server, self._pace)
        self.stop_accepting = self.core.stop_accepting
        self.budget = budget
        self.streams: set[RequestStream] = set()  # open streams (other threads copy the set before they iterate)
        self._stream_counts: Counter[str] = Counter()  # by connection
        self._max_streams = max_streams
        self._max_in_flight = max_in_flight
        self._method = method
        self._handler = handler
        self._gate = gate
        self._arrivals = Arrivals(handler.take_large, gate)
        self._believes_callers = bool(gateway_method)
        self._gateways: set[GatewayStream] = set()
        self._stream_methods: list[tuple[str, Callable[[Any], None], int]] = []
        if stream_method:
            self._stream_methods.append((stream_method, self._begin_stream, _OUTSTANDING_STREAMS))
        if gateway_method:
            self._stream_methods.append((gateway_method, self._begin_gateway, 1))
        for name in (method, *[name for name, *_ in self._stream_methods]):
            self.core.register(name)
        self._open_calls = 0  # of all methods
        self._unfinished: dict[UnaryCall, None] = {}  # calls whose message is being received, in order
        self._came_alone = self._has_work = False  # came alone: the last dispatched call
        self._accepting = 0  # requested calls and streams (-1 after the queue's shutdown)
        self._arrived: list[ArrivedRequest] = []  # and not dispatched yet
        self._is_holding = False
        self.handing_on = self._ident = 0  # the thread's number: while it dispatches, and always
        self.failure: Exception | None = None  # the error that ended the thread: a defect, or an incompatible grpcio
        self._nap = 0.0  # seconds to sleep after waking up, updated once per turn
        self._thread = threading.Thread(target=self._run, name="fast path", daemon=True)

    def start(self) -> None:
        """Start serving."""
        self._thread.start()

    def hold(self) -> None:
        """Hold arriving calls until `release`. Clients that wait for them send no further calls meanwhile."""
        self._is_holding = True

    def release(self) -> None:
        """Dispatch the held calls."""
        self._is_holding = False

    def end_streams(self, error: ServeError) -> None:
        """End every stream after its requests in flight have been answered. Call it from another thread."""
        for stream in list(self.streams):
            stream.end(error)
        for gateway in list(self._gateways):
            gateway.end()

    def end_revoked(self) -> None:
        """End the streams whose tokens have become invalid for inference."""
        for stream in list(self.streams):
            if stream.grant is not None and not stream.grant.admits(Need.INFER):
                stream.end(stream.grant.refusal())

    def end_late(self, count: int) -> int:
        """End up to `count` calls whose message has not arrived, oldest first, to free memory. Return how many.

        If no such call exists, end up to 8 * `count` silent streams instead, beginning with the connections that have
        the most streams.
        """
        late = list(self._unfinished)[:count]
        for call in late:
            self._unfinished.pop(call, None)  # otherwise the next check would end the same calls again
            call.call.cancel(self.core.exhausted, _MEMORY_IS_SHORT)
        if late:
            return len(late)
        since = clock_now() - _SILENT_SECONDS
        silent = [stream for stream in list(self.streams) if not stream.in_flight and stream.heard < since]
        silent.sort(key=lambda stream: (-self._stream_counts[stream.connection], stream.heard))
        del silent[8 * count :]
        for stream in silent:
            stream.cancel(_MEMORY_IS_SHORT)
        return len(silent)

    @property
    def is_receiving(self) -> bool:
        """Whether messages of calls or streams may be arriving."""
        return bool(self._unfinished) or len(self.streams) > 0

    @property
    def in_flight(self) -> int:
        """Number of unanswered requests."""
        streams: list[RequestStream | GatewayStream] = [*self.streams, *self._gateways]
        return max(self._open_calls - len(streams), 0) + sum([stream.in_flight for stream in streams])

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the thread's end after the server has stopped. Return True if it has ended or never started."""
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def call_is_over(self) -> None:
        """Record that the last event of a call has arrived. Only on the fast path's thread."""
        self._open_calls -= 1

    def _run(self) -> None:
        self._ident = threading.get_ident()
        try:
            self._accept(self._method, _ACCEPT, _OUTSTANDING)
            for method, begin, count in self._stream_methods:
                self._accept(method, functools.partial(self._accept_stream, method, begin), count)
            self._loop()
        except Exception as error:  # noqa: BLE001 - `failure` is reported by the code that watches the thread
            self.failure = error

    def _accept(self, method: str, tag: object, count: int = 1) -> None:
        self._accepting += self.core.accept(self.core.queue, method, tag, count)

    def _loop(self) -> None:
        queue, unfinished, pace, core = self.core.queue, self._unfinished, self._pace, self.core
        poll, request_call, receive = queue.poll, core.request_call, core.receive_message
        method, may_accept, shut_down = self._method, core.may_accept, core.shut_down
        arrived, believes_callers, gate, arrivals = self._arrived, self._believes_callers, self._gate, self._arrivals
        message: ArrivedRequest | None = None
        call: UnaryCall | None
        turn_at = time.time() + _IDLE_SECONDS
        has_slept = False
        while True:
            if not (self._accepting or self._open_calls or arrived):
                self._accepting = -1
                queue.shutdown()  # no operation may be started after this
            if arrived or self._has_work or pace.look_until or has_slept:
                event = poll(LONG_AGO)
            else:
                event = poll(turn_at)
                if has_slept := self._nap > 0:
                    time.sleep(self._nap)
            tag = event.tag
            if type(tag) is UnaryCall:
                if tag.is_answered:
                    self._open_calls -= 1
                    if tag.held_bytes:
                        tag.let_go()
                    event = tag = None
                    continue
                # its message has arrived
                unfinished.pop(tag, None)  # `end_late` has removed it if it ended the call
                payload = event.batch_operations[0].message()
                if payload is None:
                    tag.end_without_message()
                else:
                    message, tag.payload = tag, payload
            elif tag is _ACCEPT:
                with may_accept:
                    if event.success and not core.is_told_to_stop:
                        request_call(queue, queue, method, _ACCEPT)
                    else:
                        self._accepting -= 1
                if event.success:
                    self._open_calls += 1
                    metadata = event.invocation_metadata
                    if len(metadata) > MANY_FIELDS:
                        metadata = kept_metadata(metadata)
                    # The gateway sends the name of its client last.
                    said = metadata if believes_callers and metadata and metadata[-1][0] == PEER else ()
                    deadline = event.call_details.deadline
                    if deadline < NO_DEADLINE:
                        deadline = from_wall_clock(deadline)
                    call = UnaryCall(self, event.call, deadline, said, metadata)
                    if gate is None or arrivals.lets_in(call, event.invocation_metadata):
                        unfinished[call] = None
                        call.call.start_server_batch((receive(0),), call)
            elif tag is None:
                if event.completion_type == shut_down:
                    return
                has_slept = False
                if arrived or self._has_work:
                    self._hand_on()
                elif not pace.look_until:
                    turn_at = time.time() + _IDLE_SECONDS
                    self._hand_on()
                elif clock_now() > pace.look_until:
                    pace.look_until = 0.0
            else:
                message = tag(event)
            if message is not None:
                if len(message.payload) <= SMALL and (gate is None or type(message) is UnaryCall):
                    arrived.append(message)
                else:
                    arrived += arrivals.take(message)
                if len(arrived) >= MAX_REQUESTS or (self._came_alone and self._open_calls == 1 and arrived):
                    self._hand_on()
            event = tag = call = payload = message = None  # a call lives as long as any reference to it

    def _hand_on(self) -> None:
        """Dispatch arrived requests and run further batches, unless calls are held."""
        if self._is_holding:
            return
        arrived = self._arrived.copy()
        self._arrived.clear()
        if arrived:
            self._came_alone = len(arrived) == 1
            self._pace.note(arrived)
        self.handing_on = self._ident
        try:
            self._handler.take(arrived)
            self._has_work = self._handler.work()
            self._nap = self._handler.nap_seconds(self._open_calls - len(self.streams))
        except Exception as error:  # noqa: BLE001 - a defect must not leave callers waiting or end the thread
            hidden = InternalError.hiding(error)
            for request in arrived:
                request.refuse(hidden)
            self._has_work = True
        finally:
            self.handing_on = 0
            for gateway in self._gateways:
                gateway.send_collected()

    def _accept_stream(self, method: str, begin: Callable[[Any], None], event: Any) -> None:  # noqa: ANN401 - grpcio's type
        """Begin an arrived stream, and request the next one."""
        self._accepting -= 1
        if event.success:  # otherwise the server is stopping
            self._accept(method, functools.partial(self._accept_stream, method, begin))
            self._open_calls += 1
            begin(event)

    def _begin_stream(self, event: Any) -> None:  # noqa: ANN401 - grpcio's type
        metadata, deadline = event.invocation_metadata, from_wall_clock(event.call_details.deadline)
        connection, grant = event.call.peer().decode(), None
        try:
            if self._gate is not None:
                certificate = functools.partial(certificate_of, self.core, event.call, metadata)
                grant = self._gate.admit_to(Need.INFER, metadata, certificate)
            if (
                len(self.streams) >= self._max_streams
                or self._stream_counts[connection] >= (self._max_streams + 1) // 2
            ):
                raise TooManyStreams(self._max_streams)
        except ServeError as error:
            # The call isn't assigned to a variable: otherwise the error's traceback, which holds this frame, would keep
            # it.
            UnaryCall(self, event.call, deadline, (), kept_metadata(metadata)).refuse(error)
            return
        stream = RequestStream(self, event.call, connection, deadline, metadata, self._room_of, self._is_over)
        stream.grant = grant
        self._stream_counts[connection] += 1
        self.streams.add(stream)
        stream.begin()

    def _room_of(self, connection: str) -> int:
        """Return how many requests a stream of a connection may have in flight. Thread-safe."""
        return self._max_in_flight // (self._stream_counts[connection] or 1)

    def _begin_gateway(self, event: Any) -> None:  # noqa: ANN401 - grpcio's type
        """Begin a gateway's stream, or refuse it if it didn't arrive over the private socket."""
        if not is_private(event.call.peer().decode()):
            deadline = from_wall_clock(event.call_details.deadline)
            UnaryCall(self, event.call, deadline).refuse(
                Unsupported("only the server's own HTTP gateway may call this method")
            )
            return
        stream = GatewayStream(self, event.call, self._is_over)
        self._gateways.add(stream)
        stream.begin()

    def _is_over(self, stream: RequestStream | GatewayStream) -> None:
        """Record that the last event of a stream has arrived."""
        self._open_calls -= 1
        if isinstance(stream, GatewayStream):
            self._gateways.discard(stream)
            return
        self.streams.discard(stream)
        self._stream_counts[stream.connection] -= 1
        if not self._stream_counts[stream.connection]:
            del self._stream_counts[stream.connection]


def check_fast_path() -> None:
    """Send a request and a stream through a fast path. Raise StartError if a response is wrong or missing."""
    method, stream_method, payloads = "/rnnserve.SelfTest/Echo", "/rnnserve.SelfTest/EchoStream", (b"first", b"second")
    try:
        with tempfile.TemporaryDirectory(prefix="rnnserve-") as folder, contextlib.ExitStack() as stack:
            address = f"unix:{Path(folder) / 's'}"
            server = grpc.server(futures.ThreadPoolExecutor(1, "self-test"))
            server.add_insecure_port(address)
            handler: Any = SimpleNamespace(take=_echo, take_large=None, work=lambda: False, nap_seconds=lambda _: 0.0)
            path = FastPath(server, method, handler, ByteBudget(1 << 20), stream_method=stream_method, max_streams=2)
            server.start()
            stack.callback(server.stop, 0)
            path.start()
            stack.callback(path.stop_accepting)
            channel: Any = stack.enter_context(grpc.insecure_channel(address))
            try:
                answer = channel.unary_unary(method)(payloads[0], timeout=_SELF_TEST_SECONDS)
                answers = list(channel.stream_stream(stream_method)(iter(payloads), timeout=_SELF_TEST_SECONDS))
            except grpc.RpcError as error:
                raise path.failure or TimeoutError(f"no response, {error.code().name}") from None
    except StartError:
        raise
    except Exception as error:  # any error of an incompatible grpcio
        raise unusable(f"its self-test failed: {error!r}") from error
    if answer != payloads[0] or answers != [encode_stream_response(payload) for payload in payloads]:
        raise unusable("its self-test got wrong responses")


def _echo(arrived: list[ArrivedRequest]) -> None:
    """Answer each request with its own bytes."""
    for request in arrived:
        request.answer(request.payload)
