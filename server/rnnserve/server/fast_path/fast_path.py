"""The fast path: ModelInfer and ModelStreamInfer of a `grpc.Server`, on one thread with another completion queue.

The thread takes everything that has arrived, and hands it on as one list. The port, TLS, limits and every other method
stay with grpcio's own threads (docs/lab/findings.md, "The fast path").

How a call proceeds, as the queue reports it: an event brings the call; one batch of operations receives its message;
one batch sends the answer and its status. If a cancellation has to be known, a third batch waits for the call to close;
otherwise that operation is part of the last batch, which saves an event a request. How a stream proceeds is in
`streams`.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import grpc

from rnnserve.protos.access_table import Need
from rnnserve.server.access.gate import Gate, Grant
from rnnserve.server.batching import MAX_REQUESTS
from rnnserve.server.clock import NO_DEADLINE, from_wall_clock
from rnnserve.server.clock import now as clock_now
from rnnserve.server.connections.byte_budget import SMALL, ByteBudget
from rnnserve.server.connections.private_socket import is_private, said_of_peer
from rnnserve.server.errors import InternalError, ServeError, Unsupported
from rnnserve.server.fast_path.arrival_pace import ArrivalPace
from rnnserve.server.fast_path.arrived import Arrivals
from rnnserve.server.fast_path.calls import (
    ArrivedRequest,
    CallHandler,
    UnaryCall,
    certificate_of,
)
from rnnserve.server.fast_path.gateway_stream import GatewayStream
from rnnserve.server.fast_path.grpcio_core import LONG_AGO, GrpcioCore
from rnnserve.server.fast_path.streams import OpenStreams, RequestStream
from rnnserve.server.observing.origins import MANY_FIELDS, kept_metadata

__all__ = ["FastPath"]

_log = logging.getLogger(__name__)

_IDLE_SECONDS = 0.5
"""Seconds that the thread waits at most for something to arrive before it looks at what else there is to do.
grpcio's own wait looks for signals every 0.2 s, so this wakes the process no more often."""

_OUTSTANDING, _OUTSTANDING_STREAMS = MAX_REQUESTS, 64
"""How many calls, and streams, may arrive between two looks at the queue without waiting for one of them."""

_MEMORY_IS_SHORT = "the server's memory is short: slow down"
_SILENT_SECONDS = 0.1
"""Seconds without a message from which on a stream is ended while the server's memory is short."""

_ACCEPT = object()
"""Tag of the events that bring a new call of the unary method."""


class _Acceptance(NamedTuple):
    """Tag of the events that bring a new stream of a method."""

    method: str
    begin: Callable[[Any], None]
    outstanding: int


class FastPath:
    """Serve one unary method of a server that has not been started yet, and its form for streams.

    Attributes:
        core: What is started on calls.
        budget: Budget of the bytes that its calls hold.
        streams: The clients' streams that are open.
        handing_on: The thread's number while it answers what has arrived, or 0 in between.
        failure: The error that has ended the thread, if one has: a defect, or a grpcio that works otherwise.
    """

    def __init__(
        self,
        server: grpc.Server,
        method: str,
        handler: CallHandler,
        budget: ByteBudget,
        *,
        stream_method: str = "",
        max_streams: int = 0,
        max_in_flight: int = 1024,
        gateway_method: str = "",
        gate: Gate | None = None,
    ) -> None:
        """Register the methods; `start` begins to serve them, after the server has been started.

        Args:
            server: The server.
            method: The method's full name, "/package.Service/Method".
            handler: The handler, which answers the requests.
            budget: Budget of the bytes that its calls hold.
            stream_method: Name of the same method with streams of requests and responses, or an empty text.
            max_streams: Number of calls of `stream_method` that may be open.
            max_in_flight: Requests in flight of one connection up to which its streams receive further ones.
            gateway_method: Name of the HTTP gateway's method (`gateway_stream`); with one, calls over the private
                socket say whose they are.
            gate: Gate that lets calls in, or None for all of them.

        Raises:
            StartError: If this grpcio lacks a part.
        """
        self._pace = ArrivalPace()
        self.core = GrpcioCore(server, self._pace)
        self.budget = budget
        self.streams = OpenStreams(max_streams, max_in_flight)
        self._method = method
        self._handler = handler
        self._gate = gate
        self._arrivals = Arrivals(handler, gate)
        self._believes_callers = bool(gateway_method)
        self._gateways: set[GatewayStream] = set()
        self._is_going = False
        self._acceptances: list[_Acceptance] = []
        if stream_method:
            self._acceptances.append(_Acceptance(stream_method, self._begin_stream, _OUTSTANDING_STREAMS))
        if gateway_method:
            self._acceptances.append(_Acceptance(gateway_method, self._begin_gateway, 1))
        for name in (method, *(kind.method for kind in self._acceptances)):
            self.core.register(name)
        self._open_calls = 0  # of all methods
        self._unfinished: dict[UnaryCall, None] = {}  # calls whose message is being received, in order
        self._may_accept = threading.Lock()
        self._is_told_to_stop = self._came_alone = self._has_work = False  # came alone: the last call handed on
        self._accepting = 0  # calls and streams that are requested; -1 after the queue was told to end
        self._arrived: list[ArrivedRequest] = []  # and not handed on
        self._is_holding = False
        self._held: list[ArrivedRequest] = []  # while it is
        self.handing_on = self._ident = 0
        self.failure: Exception | None = None
        self._nap = 0.0  # seconds of sleep when woken, asked for once a turn
        self._thread = threading.Thread(target=self._run, name="fast path", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def hold(self) -> None:
        """Keep the calls that arrive, until `release`: their clients make no further ones meanwhile."""
        self._is_holding = True

    def release(self) -> None:
        """Answer the calls that were kept."""
        self._is_holding = False

    def stop_accepting(self) -> None:
        """Request no more calls. To be called before the server is stopped.

        To request one releases Python's lock: a server that is stopped then may be destroyed, and the process ends.
        """
        with self._may_accept:
            self._is_told_to_stop = True

    def end_streams(self, error: ServeError) -> None:
        """End every stream when its requests in flight have been answered. For another thread than the fast path's."""
        for stream in self.streams:
            stream.end(error)
        self._is_going = True
        for gateway in list(self._gateways):
            gateway.end()

    def end_revoked(self) -> None:
        """End the streams whose tokens do not admit to them any more."""
        for stream in self.streams:
            if stream.grant is not None and not stream.grant.admits(Need.INFER):
                stream.end(stream.grant.refusal())

    def end_late(self, count: int) -> int:
        """End calls whose message has not arrived, the oldest first, because memory is short.

        What has arrived of a message is not known before all of it has. If no call waits for its message, silent
        streams are ended, first those of connections with most streams.

        Args:
            count: How many calls; eight times as many streams.

        Returns:
            How many were ended.
        """
        late = list(self._unfinished)[:count]
        for call in late:
            call.call.cancel(self.core.exhausted, _MEMORY_IS_SHORT)
        if late:
            return len(late)
        since = clock_now() - _SILENT_SECONDS
        silent = [stream for stream in self.streams if not stream.in_flight and stream.heard < since]
        silent.sort(key=lambda stream: (-stream.connection.count, stream.heard))
        for stream in silent[: 8 * count]:
            stream.cancel(_MEMORY_IS_SHORT)
        return len(silent[: 8 * count])

    @property
    def is_receiving(self) -> bool:
        """Whether messages may be arriving: of calls, or on streams."""
        return bool(self._unfinished) or len(self.streams) > 0

    @property
    def in_flight(self) -> int:
        """How many requests have arrived, and have not been answered."""
        streams, gateways = list(self.streams), list(self._gateways)
        calls = max(self._open_calls - len(streams) - len(gateways), 0)
        return calls + sum([stream.in_flight for stream in streams]) + sum([stream.in_flight for stream in gateways])

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end, which comes when the server has been stopped and every call has been answered.

        Returns:
            Whether it has come; true if it was never started.
        """
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def call_is_over(self) -> None:
        """Note that the last event of a call has come. On the fast path's thread."""
        self._open_calls -= 1

    def _run(self) -> None:
        """Serve until the end; go on after a message for which there was no memory."""
        self._ident = threading.get_ident()
        has_begun = False
        while True:
            try:
                if not has_begun:
                    has_begun = True
                    self._accept(self._method, _ACCEPT, _OUTSTANDING)
                    for kind in self._acceptances:
                        self._accept(kind.method, kind, kind.outstanding)
                return self._loop()
            except MemoryError:
                with contextlib.suppress(MemoryError):
                    for call in list(self._unfinished):  # which of their messages was lost is not known
                        call.call.cancel(self.core.exhausted, _MEMORY_IS_SHORT)
                    _log.error("Lost a message, because there was no memory for it")
            except Exception as error:  # noqa: BLE001 - it is shown where the thread is looked after
                self.failure = error
                return None

    def _accept(self, method: str, tag: object, count: int = 1) -> None:
        """Request more calls of a method, unless told to stop."""
        queue = self.core.queue
        with self._may_accept:
            for _ in range(0 if self._is_told_to_stop else count):
                self.core.request_call(queue, queue, method, tag)
                self._accepting += 1

    def _loop(self) -> None:
        queue, unfinished, pace, core = self.core.queue, self._unfinished, self._pace, self.core
        poll, request_call, receive = queue.poll, core.request_call, core.receive_message
        method, may_accept, shut_down = self._method, self._may_accept, core.shut_down
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
                del unfinished[tag]
                payload = event.batch_operations[0].message()
                if payload is None:
                    tag.end_without_message()
                else:
                    message, tag.payload = tag, payload
            elif tag is _ACCEPT:
                with may_accept:
                    if event.success and not self._is_told_to_stop:
                        request_call(queue, queue, method, _ACCEPT)
                    else:
                        self._accepting -= 1
                if event.success:
                    self._open_calls += 1
                    metadata = event.invocation_metadata
                    if len(metadata) > MANY_FIELDS:
                        metadata = kept_metadata(metadata)
                    said = said_of_peer(metadata) if believes_callers else ()
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
            elif type(tag) is _Acceptance:
                self._accept_more(tag, event)
            else:
                message = tag.complete(event)
            if message is not None:
                if len(message.payload) <= SMALL and (gate is None or type(message) is UnaryCall):
                    arrived.append(message)
                else:
                    arrived += arrivals.take(message)
                if len(arrived) >= MAX_REQUESTS or (self._came_alone and self._open_calls == 1 and arrived):
                    self._hand_on()
            event = tag = call = payload = message = None  # a call lives as long as anything that refers to it

    def _hand_on(self) -> None:
        """Hand on what has arrived, and have further work done; while calls are held, keep it."""
        arrived = self._arrived.copy()
        self._arrived.clear()
        if arrived:
            self._came_alone = len(arrived) == 1
            self._pace.note(arrived)
        if self._is_holding:
            self._held += arrived
            self._has_work = bool(self._held) or self._has_work  # so that the loop comes back soon
            return
        if self._held:
            arrived, self._held = self._held + arrived, []
        self.handing_on = self._ident
        try:
            self._handler.take(arrived)
            self._has_work = self._handler.work()
            self._nap = self._handler.nap_seconds(self._open_calls - len(self.streams))
        except Exception as error:  # noqa: BLE001 - a defect must neither keep callers waiting nor end the thread
            hidden = InternalError.hiding(error)
            for request in arrived:
                request.refuse(hidden)
            self._has_work = True
        finally:
            self.handing_on = 0
            for gateway in self._gateways:
                gateway.send_collected()

    def _accept_more(self, kind: _Acceptance, event: Any) -> None:  # noqa: ANN401 - grpcio's own
        """Begin a stream that has arrived, and request the next one."""
        self._accepting -= 1
        if not event.success:
            return  # the server is being stopped
        self._accept(kind.method, kind)
        self._open_calls += 1
        kind.begin(event)

    def _begin_stream(self, event: Any) -> None:  # noqa: ANN401 - grpcio's own
        """Begin a client's stream, or refuse it."""
        metadata, deadline = event.invocation_metadata, from_wall_clock(event.call_details.deadline)
        name = event.call.peer().decode()
        try:
            grant = None if self._gate is None else self._admit(self._gate, event)
            connection = self.streams.connection(name)
        except ServeError as error:
            # Without a name for the call: a frame that has an error as a variable, and is in its traceback, would stay.
            UnaryCall(self, event.call, deadline, (), kept_metadata(metadata)).refuse(error)
            return
        stream = RequestStream(self, event.call, connection, deadline, metadata, self._stream_is_over)
        stream.grant = grant
        self.streams.add(stream)
        stream.begin()

    def _admit(self, gate: Gate, event: Any) -> Grant | None:  # noqa: ANN401 - grpcio's own
        metadata = event.invocation_metadata
        return gate.admit_to(Need.INFER, metadata, lambda: certificate_of(self.core, event.call, metadata))

    def _stream_is_over(self, stream: RequestStream) -> None:
        self.streams.discard(stream)
        self.call_is_over()

    def _begin_gateway(self, event: Any) -> None:  # noqa: ANN401 - grpcio's own
        """Begin the stream of a gateway, or refuse it if it has not come over the private socket."""
        if not is_private(event.call.peer().decode()):
            deadline = from_wall_clock(event.call_details.deadline)
            UnaryCall(self, event.call, deadline).refuse(Unsupported("this method is for the server's own gateway"))
            return
        stream = GatewayStream(self, event.call, self._gateway_is_over)
        self._gateways.add(stream)
        stream.begin()
        if self._is_going:
            stream.end()

    def _gateway_is_over(self, stream: GatewayStream) -> None:
        self._gateways.discard(stream)
        self.call_is_over()
