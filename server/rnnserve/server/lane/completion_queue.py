"""ModelInfer and ModelStreamInfer of a public gRPC server, on a completion queue of our own.

grpcio's server takes an event at a time on one thread and hands each request to another. The lane polls its own queue
on one thread, takes everything that has arrived, and hands it on as one list. Ports, TLS, limits and every other method
stay with the public server (docs/lab/findings.md, "The lane").

It uses what grpcio keeps private (`grpc._cython.cygrpc`, `server._state`; `grpcio_private.missing_parts`).

How a call proceeds, as the queue reports it: a request-call event brings the call; one batch of operations receives its
message; one batch sends the answer and its status. Where a cancellation has to be known, a third waits for the call to
close; elsewhere that operation is part of the last batch, which saves an event a request. How a stream proceeds is in
`streams`.
"""

import importlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from rnnserve.server.access.gate import Gate
from rnnserve.server.batching import MAX_REQUESTS
from rnnserve.server.clock import NO_DEADLINE, from_wall_clock, now
from rnnserve.server.connections.byte_budget import SMALL, ByteBudget
from rnnserve.server.connections.held_answers import HeldAnswers
from rnnserve.server.connections.private_socket import said_of_peer, shown_certificate
from rnnserve.server.errors import InternalError, ServeError, Unsupported
from rnnserve.server.grpcio_private.lasting import run_lasting
from rnnserve.server.grpcio_private.operations import Operations
from rnnserve.server.grpcio_private.socket_reading import LONG_AGO, ArrivalPace, use_serving_queue
from rnnserve.server.lane.arrivals import Arrivals
from rnnserve.server.lane.arrived_requests import ArrivedRequest, CallHandler, LaneCall
from rnnserve.server.lane.late_calls import LATE_SECONDS, LateCalls, receive_window
from rnnserve.server.lane.new_streams import Acceptance, NewStreams
from rnnserve.server.lane.open_streams import OpenStreams
from rnnserve.server.lane.streams import LaneStream
from rnnserve.server.observing.origins import MANY_FIELDS
from rnnserve.server.process.thread_frames import thread_frames

__all__ = ["Lane"]

_log = logging.getLogger(__name__)

_IDLE_SECONDS = 0.5
"""Seconds that the lane's thread waits at most for something to arrive before it makes a turn, which shows that it
runs. grpcio's own wait looks for signals every 0.2 s, so this wakes the process no more often."""

_OUTSTANDING = MAX_REQUESTS
"""How many calls may arrive between two looks at the queue without waiting for one of them."""

_OUTSTANDING_STREAMS = 64
"""How many streams may be opened between two looks at the queue without waiting for one of them."""

_ACCEPT = object()
"""Tag of the events that bring a new call of the unary method."""


class Lane(HeldAnswers):
    """Serve one unary method of a server that has not been started yet, and its form for streams.

    Calls that arrive while answers are held back wait, too.

    Attributes:
        operations: What is started on calls.
        budget: Of the bytes that its calls hold.
        late: Calls and streams that wait for a message.
        turns: How often the thread has handed on what had arrived, or has waited in vain: it grows at least once in
            `_IDLE_SECONDS` while the thread runs, whatever the load.
        taken: How many calls have arrived.
        handing_on: The thread's number while what has arrived is answered; 0 in between.
    """

    def __init__(
        self,
        server: grpc.Server,
        method: str,
        handler: CallHandler,
        budget: ByteBudget,
        end_connection: Callable[[str], None],
        *,
        stream_method: str = "",
        max_streams: int = 0,
        front_method: str = "",
        gate: Gate | None = None,
    ) -> None:
        """Register the methods; `start` begins to serve them, after the server has been started.

        Args:
            server: A public server, for which `missing_parts` gives None.
            method: The method's full name, "/package.Service/Method".
            handler: The handler, which answers the requests.
            budget: Budget of the bytes that its calls hold.
            end_connection: A function that ends a connection, by its name, without a long wait.
            stream_method: The name of the same with a stream of requests and one of responses; empty for none.
            max_streams: Number of calls of `stream_method` that may be open.
            front_method: The name of a front's method (`front_stream`), whose socket's calls say whose they are.
            gate: Gate that lets calls in; None for all of them.
        """
        super().__init__()
        self._cygrpc: Any = importlib.import_module("grpc._cython.cygrpc")
        self.operations = Operations(self._cygrpc)
        self._method = method
        self._handler = handler
        self._gate = gate
        self._arrivals = Arrivals(method, handler, gate)
        self.budget = budget
        self._end_connection = end_connection
        self._core = server._state.server  # type: ignore[attr-defined]  # noqa: SLF001 - see above
        self._core.register_method(method)
        self._believes_callers = bool(front_method)
        self._streams = OpenStreams(max_streams)
        self._exhausted = self._cygrpc.StatusCode.resource_exhausted
        self._new = NewStreams(self, self._streams, self._exhausted, end_connection, gate)
        self._acceptances: list[Acceptance] = []
        if stream_method:
            self._acceptances.append(Acceptance(stream_method, self._new.begin, _OUTSTANDING_STREAMS))
        if front_method:
            self._acceptances.append(Acceptance(front_method, self._new.begin_front, 1))
        for kind in self._acceptances:
            self._core.register_method(kind.method)
        self._open_calls = 0  # of both methods
        self._unfinished: dict[LaneCall, None] = {}  # calls whose message is being received, in order
        self.late = LateCalls(self._unfinished.keys(), self._streams, self._exhausted)
        self._window = receive_window()
        self._may_accept = threading.Lock()
        self._is_told_to_stop = self._came_alone = self._has_work = False  # came alone: the last call handed on
        self._accepting = 0  # calls and streams that are asked for; -1 after the queue was told to end
        self._arrived: list[ArrivedRequest] = []  # and not handed on
        self._held: list[ArrivedRequest] = []  # while answers are held back
        self.turns = self.taken = self.handing_on = self._ident = 0
        self._nap, self._pace = 0.0, ArrivalPace()  # nap: seconds of sleep when woken, asked for once a turn
        self._queue: Any = use_serving_queue(server, self._cygrpc, self._pace)
        self._thread = threading.Thread(None, run_lasting, "lane", (self._loop, self.late.end_unfinished), daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop_accepting(self) -> None:
        """Request no more calls. To be called before the server is stopped.

        To request one releases Python's lock: a server that is stopped then may be destroyed, and the process ends.
        """
        with self._may_accept:
            self._is_told_to_stop = True

    def end_streams(self, error: ServeError) -> None:
        """End every stream when what is in hand of it has been answered. For another thread than the lane's."""
        for stream in self._streams:
            stream.end(error)
        self._new.end_fronts()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end, which comes when the server has been stopped and every call has been answered."""
        self._thread.join(timeout)

    def is_running(self) -> bool:
        """Whether the lane's thread runs."""
        return self._thread.is_alive()

    def seconds_of_poll(self) -> float | None:
        """Processor time that the lane's thread has used in all, in seconds, while it polls; None where it does not."""
        thread = self._thread.ident
        frame = None if thread is None else thread_frames().get(thread)
        if thread is None or frame is None or frame.f_code is not Lane._loop.__code__:
            return None
        try:
            return time.clock_gettime(time.pthread_getcpuclockid(thread))
        except OSError:  # it has ended meanwhile
            return None

    def identity_of(self, call: Any) -> str:  # noqa: ANN401 - grpcio's own
        """Give the names in the certificate that the client of a call has shown; empty where it has shown none."""
        names = self._cygrpc.peer_identities(call)
        return b" ".join(names).decode(errors="replace") if names else ""

    def certificate_of(self, call: Any, metadata: Sequence[Any]) -> str:  # noqa: ANN401 - grpcio's own
        """Give the certificate that the client of a call, or of its front, has shown; empty for none."""
        return shown_certificate(call.peer().decode(), metadata, lambda: self._cygrpc.auth_context(call))

    def call_is_over(self) -> None:
        """Note that the last event of a call has come. For the lane's thread."""
        self._open_calls -= 1

    def stream_is_over(self, stream: LaneStream) -> None:
        """Note that the last event of a stream has come. For the lane's thread."""
        self._streams.discard(stream)
        self.call_is_over()

    def _begin(self) -> None:
        """Request the first calls of every method."""
        self._ident = threading.get_ident()
        self._accept(self._method, _ACCEPT, _OUTSTANDING)
        for kind in self._acceptances:
            self._accept(kind.method, kind, kind.outstanding)

    def _accept(self, method: str, tag: object, count: int = 1) -> None:
        """Request more calls of a method, unless the lane has been told not to."""
        with self._may_accept:
            for _ in range(0 if self._is_told_to_stop else count):
                self._core.request_registered_call(self._queue, self._queue, method, tag)
                self._accepting += 1

    def _open_stream(self, kind: Acceptance, event: Any) -> None:  # noqa: ANN401 - grpcio's own
        """Begin a stream that has arrived, or refuse it."""
        self._accepting -= 1
        if not event.success:
            return  # the server is being stopped
        self._accept(kind.method, kind)
        self._open_calls += 1
        kind.open(event, kind.method)

    def _receive_waiting(self) -> None:
        """Receive the messages whose turn it is, beside those that do not arrive."""
        self._window.pass_late()
        while (call := self._window.next()) is not None:
            self._unfinished[call] = None
            call.call.start_server_batch((self.operations.receive_message(0),), call)

    def _loop(self) -> None:
        queue, window, unfinished, pace = self._queue, self._window, self._unfinished, self._pace
        poll, request_call, receive = queue.poll, self._core.request_registered_call, self.operations.receive_message
        method, may_accept, shut_down = self._method, self._may_accept, self._cygrpc.CompletionType.queue_shutdown
        arrived, believes_callers, gate, arrivals = self._arrived, self._believes_callers, self._gate, self._arrivals
        call: LaneCall | None = None  # whose message is to be received
        message: ArrivedRequest | None = None
        turn_at = time.time() + _IDLE_SECONDS
        has_slept = False
        if not self._ident:  # else it goes on after something was lost
            self._begin()
        while True:
            if not (self._accepting or self._open_calls or arrived):
                self._accepting = -1
                queue.shutdown()  # no operation may be started after this
            is_busy = arrived or self._has_work or pace.look_until or has_slept
            if is_busy or (window.waiting and window.taken < window.limit):
                event = poll(LONG_AGO)
            else:
                event = poll(time.time() + LATE_SECONDS if window.waiting else turn_at)
                if has_slept := self._nap > 0:
                    time.sleep(self._nap)
            tag = event.tag
            if type(tag) is LaneCall:
                if tag.is_answered:
                    self._open_calls -= 1
                    if tag.held_bytes:
                        tag.let_go()
                    event = tag = None
                    continue
                # its message has arrived
                del unfinished[tag]
                payload = event.batch_operations[0].message()
                size = 0 if payload is None else len(payload)
                if size > SMALL or not window.is_usual:
                    call = window.give_back(size)
                elif window.waiting:
                    call = window.pass_on()
                else:
                    window.taken -= 1
                if payload is None:  # it was half-closed, or lost: with the public server's message
                    tag.refuse(Unsupported(f"{method} requires exactly one request message."))
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
                        metadata = self._new.few_fields(event)
                    told = said_of_peer(metadata) if believes_callers else ()
                    deadline = event.call_details.deadline
                    if deadline < NO_DEADLINE:
                        deadline = from_wall_clock(deadline)
                    call = LaneCall(self, event.call, deadline, told, metadata)
                    if gate is not None and not arrivals.lets_in(call, event.invocation_metadata):
                        call = None
                    elif window.taken < window.limit:
                        window.taken += 1
                    else:
                        window.wait(call)
                        call = None
            elif tag is None:
                if event.completion_type == shut_down:
                    return
                self.turns += 1
                has_slept = False
                is_idle = not (arrived or self._has_work)
                if window.waiting and (window.taken < window.limit or (is_idle and not pace.look_until)):
                    self._receive_waiting()
                if not is_idle:
                    self._hand_on()
                elif not pace.look_until:
                    turn_at = time.time() + _IDLE_SECONDS
                    self._hand_on()
                elif now() > pace.look_until:
                    pace.look_until = 0.0
            elif type(tag) is Acceptance:
                self._open_stream(tag, event)
            else:
                message = tag.complete(event)
            if call is not None:
                unfinished[call] = None
                call.call.start_server_batch((receive(0),), call)
            if message is not None:
                if len(message.payload) <= SMALL and (gate is None or type(message) is LaneCall):
                    arrived.append(message)
                else:
                    arrived += arrivals.take(message)
                if len(arrived) >= MAX_REQUESTS or (self._came_alone and self._open_calls == 1 and arrived):
                    self._hand_on()
            event = tag = call = payload = message = None  # a call lives as long as anything that refers to it

    def _hand_on(self) -> None:
        """Hand on what has arrived, and have further work done; while answers are held back, keep it."""
        arrived = self._arrived.copy()
        self._arrived.clear()
        if arrived:
            self.taken += len(arrived)
            self._came_alone = len(arrived) == 1
            self._pace.note(arrived)
        if self.is_holding:
            self._held += arrived
            self._has_work = bool(self._held) or self._has_work  # so that the loop comes back soon
            return
        if self._held:
            arrived, self._held = self._held + arrived, []
        self.handing_on = self._ident
        try:
            self._handler.take(arrived)
            self._has_work = self._handler.work()
            self._nap = self._handler.nap_seconds(self._open_calls - len(self._streams))
        except Exception as error:  # noqa: BLE001 - a defect must neither keep callers waiting nor end the lane
            hidden = InternalError.hiding(error)
            for request in arrived:
                request.refuse(hidden)
            self._has_work = True
        finally:
            self.handing_on = 0
            if self._new.fronts:
                self._new.send_collected()
