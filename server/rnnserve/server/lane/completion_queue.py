"""One method of a public gRPC server, on a completion queue of our own.

grpcio's server takes an event at a time on one thread and hands each request to another. The lane polls its own queue
on one thread, takes everything that has arrived, and hands it on as one list. Ports, TLS, limits and every other method
stay with the public server (docs/findings.md, "The lane").

This is the only module that uses what grpcio keeps private (`grpc._cython.cygrpc`, `server._state.server`);
`missing_parts` says what of it a grpcio lacks.

How a call proceeds, as the queue reports it: a request-call event brings the call; one batch of operations receives its
message; one batch sends the answer and its status. Where a cancellation has to be known, a third waits for the call to
close; elsewhere that operation is part of the last batch, which saves an event a request.
"""

import importlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import grpc

from rnnserve.server.batching import MAX_REQUESTS
from rnnserve.server.batching.clock import from_wall_clock
from rnnserve.server.boundary.byte_budget import RESPONSE_COPIES, SMALL, ByteBudget
from rnnserve.server.errors import InternalError, ServeError, TooMuchHeld, Unsupported
from rnnserve.server.lane.deferred_calls import DeferredCalls

__all__ = ["LARGE", "CallHandler", "Lane", "LaneCall", "missing_parts"]

_log = logging.getLogger(__name__)

_NEEDED = (
    "CompletionQueue",
    "CompletionType",
    "ReceiveCloseOnServerOperation",
    "ReceiveMessageOperation",
    "SendInitialMetadataOperation",
    "SendMessageOperation",
    "SendStatusFromServerOperation",
    "StatusCode",
)
_NEEDED_OF_SERVER = ("register_completion_queue", "register_method", "request_registered_call")

_LONG_AGO = 1.0
"""A deadline in the past: `poll` answers at once, with an event or a time-out. `time.time()` costs a millisecond."""

_IDLE_SECONDS = 0.5
"""Seconds that the lane's thread waits at most for something to arrive before it makes a turn, which shows that it
runs. grpcio's own wait looks for signals every 0.2 s, so this wakes the process no more often."""

_OUTSTANDING = MAX_REQUESTS
"""How many calls may arrive between two looks at the queue without waiting for one of them."""

_RECEIVING = 12
"""Messages that are received at once: nobody has counted their bytes yet, and 15 kB may be compressed 16 MB. Usual ones
have arrived with their calls, so that receiving one takes a turn of the loop, whatever this number."""

_RECEIVING_LARGE = 2
"""The same after a large message, and one more for each small one. After a large one, the next is received only after
the sockets have been looked at: each may take 50 ms to decompress, during which nobody else is heard."""

_LATE_SECONDS = 50e-3
"""Seconds without any event after which the next are received beside those whose messages do not arrive. It takes as
long to decompress some of 16 MB, which may happen on another thread than the lane's."""

_HOPELESS_SECONDS = 0.25
"""Seconds that a call's message may take to arrive while the server's memory is short."""

LARGE = 128 << 10
"""Bytes of a request above which it is parsed and run on other threads: 16 MB kept the lane for a second."""

_ACCEPT = object()
"""Tag of the events that bring a new call."""


def missing_parts(server: grpc.Server) -> str | None:
    """Say what this grpcio lacks of what the lane needs, or None where it has everything."""
    try:
        cygrpc = importlib.import_module("grpc._cython.cygrpc")
        core = server._state.server  # type: ignore[attr-defined]  # noqa: SLF001 - see above
    except (ImportError, AttributeError) as error:
        return f"grpcio {grpc.__version__}: {error}"
    lacking = [name for name in _NEEDED if not hasattr(cygrpc, name)]
    lacking += [f"Server.{name}" for name in _NEEDED_OF_SERVER if not hasattr(core, name)]
    return f"grpcio {grpc.__version__} lacks {', '.join(lacking)}" if lacking else None


class LaneCall:
    """A request that has arrived, to be answered exactly once, from any thread: the first of its three stages.

    Attributes:
        payload: The request's bytes, until it is answered.
        deadline: In seconds on the clock of `batching.clock`; far in the future where the caller set none.
        is_answered: Whether it has been answered or refused.
    """

    __slots__ = ("_call", "_connection", "_held", "_is_watched", "_lane", "deadline", "is_answered", "payload")

    def __init__(self, lane: "Lane", call: Any, payload: bytes, deadline: float) -> None:  # noqa: ANN401 - grpcio's own
        self._lane = lane
        self._call = call
        self.payload = payload
        self.deadline = deadline
        self._is_watched = False
        self.is_answered = False
        self._held = 0  # bytes of the lane's budget
        self._connection = ""  # where some are held

    def peer(self) -> str:
        """Name the connection: the same for all of its calls."""
        name: str = self._call.peer().decode()
        return name

    def hold(self, size: int) -> None:
        """Take bytes from the lane's budget, in the place of those that it holds.

        Raises:
            TooMuchHeld: If the budget is spent; then it holds none.
        """
        self.let_go()
        self._connection = self._connection or self.peer()
        self._lane.budget.take(self._connection, size)
        self._held = size

    def let_go(self) -> None:
        """Give back what it holds of the lane's budget."""
        if self._held:
            self._lane.budget.give_back(self._connection, self._held)
            self._held = 0

    def watch(self, on_cancel: Callable[[], None]) -> None:
        """Call `on_cancel`, on the lane's thread, if the call is cancelled before it is answered."""
        self._is_watched = True
        self._call.start_server_batch((self._lane.new_close(),), _Watch(on_cancel))

    def answer(self, payload: bytes) -> None:
        """Send the response, or that the budget of bytes is spent."""
        if len(payload) > SMALL or self._held:
            self._lane.wait_to_answer()
            try:
                self.hold(RESPONSE_COPIES * len(payload))
            except TooMuchHeld as error:
                self.refuse(error)
                return
        self._finish(self._lane.answer_operations(payload))

    def refuse(self, error: ServeError) -> None:
        """Send the status of an error."""
        if not self.is_answered:
            self.let_go()
        self._finish(self._lane.refusal_operations(error))

    def _finish(self, operations: tuple[object, ...]) -> None:
        if self.is_answered:
            return  # after a failure in the middle of a batch, all of the batch may be refused
        self.is_answered = True
        self.payload = b""  # what is sent may wait for its reader for long
        self._call.start_server_batch(operations if self._is_watched else (*operations, self._lane.close), self)


class _Watch:
    """Tag of the event that says how a watched call closed."""

    __slots__ = ("on_cancel",)

    def __init__(self, on_cancel: Callable[[], None]) -> None:
        self.on_cancel = on_cancel


class CallHandler(Protocol):
    """What answers the calls, on the lane's thread."""

    def take(self, arrived: list[LaneCall]) -> None:
        """Take calls that have arrived together; each is to be answered, now or later. None where all is idle."""

    def take_large(self, call: LaneCall) -> None:
        """Take a call of more than `LARGE` bytes, and answer it later: the lane has no time for it."""

    def work(self) -> bool:
        """Do some of what is to be done, and return whether more is: in between, the lane collects what arrives."""


class Lane:
    """Serve one unary method of a server that has not been started yet.

    Attributes:
        budget: Of the bytes that its calls hold.
        turns: How often the thread has handed on what had arrived, or has waited in vain: it grows at least once in
            `_IDLE_SECONDS` while the thread runs, whatever the load.
        taken: How many calls have arrived.
    """

    def __init__(self, server: grpc.Server, method: str, handler: CallHandler, budget: ByteBudget) -> None:
        """Register the method; `start` begins to serve it, after the server has been started.

        Args:
            server: A public server, for which `missing_parts` gives None.
            method: Its full name, "/package.Service/Method".
            handler: What answers the calls.
            budget: Of the bytes that its calls hold.
        """
        self._cygrpc: Any = importlib.import_module("grpc._cython.cygrpc")
        # Operations that every answer has, made once. Calls may share them in flight: empty metadata and details own no
        # memory, so that nothing is freed twice (`operation.pyx.pxi`), and the result of the last one is never read.
        self._no_metadata = self._cygrpc.SendInitialMetadataOperation((), 0)
        self._ok = self._cygrpc.SendStatusFromServerOperation((), self._cygrpc.StatusCode.ok, b"", 0)
        self.close = self.new_close()
        self._send_message = self._cygrpc.SendMessageOperation
        self._codes = {code.name: getattr(self._cygrpc.StatusCode, code.name.lower()) for code in grpc.StatusCode}
        self._method = method
        self._handler = handler
        self.budget = budget
        self._core = server._state.server  # type: ignore[attr-defined]  # noqa: SLF001 - see above
        self._core.register_method(method)
        self._queue = self._cygrpc.CompletionQueue()
        self._core.register_completion_queue(self._queue)
        self._unfinished: dict[int, tuple[Any, float]] = {}  # tags of calls whose message has not arrived, by their ids
        self._may_accept = threading.Lock()
        self._is_told_to_stop = False
        self._is_holding = False
        self._may_answer = threading.Event()
        self._may_answer.set()
        self._held: list[LaneCall] = []
        self.turns = self.taken = 0
        self._thread = threading.Thread(target=self._loop, name="lane", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop_accepting(self) -> None:
        """Request no more calls. To be called before the server is stopped.

        `request_registered_call` releases Python's lock, so a server that is stopped at that moment may be destroyed
        during the call, which ends the process.
        """
        with self._may_accept:
            self._is_told_to_stop = True

    def hold(self) -> None:
        """Let calls that arrive wait, and large answers of other threads, until `release`."""
        self._may_answer.clear()
        self._is_holding = True

    def release(self) -> None:
        """Hand on the calls that wait."""
        self._is_holding = False
        self._may_answer.set()

    def wait_to_answer(self) -> None:
        """Wait while answers are held back."""
        if self._is_holding:
            self._may_answer.wait()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end, which comes when the server has been stopped and every call has been answered."""
        self._thread.join(timeout)

    @property
    def is_receiving(self) -> bool:
        """Whether the message of a call has not arrived yet."""
        return bool(self._unfinished)

    def end_late(self, count: int) -> int:
        """End calls whose message does not arrive within a while, the oldest first. For another thread than the lane's.

        Args:
            count: How many at most.

        Returns:
            How many.
        """
        before = list(self._unfinished.values())
        time.sleep(_HOPELESS_SECONDS)
        late = [tag for tag in before if id(tag) in self._unfinished][:count]
        for call, _ in late:
            call.cancel(self._cygrpc.StatusCode.resource_exhausted, "the server's memory is short: slow down")
        return len(late)

    def is_running(self) -> bool:
        """Whether the lane's thread runs."""
        return self._thread.is_alive()

    def new_close(self) -> object:
        """An operation that completes when a call closes, and tells whether it was cancelled."""
        return self._cygrpc.ReceiveCloseOnServerOperation(0)

    def answer_operations(self, payload: bytes) -> tuple[object, ...]:
        """The operations that send a response."""
        return (self._no_metadata, self._send_message(payload, 0), self._ok)

    def refusal_operations(self, error: ServeError) -> tuple[object, ...]:
        """The operations that send an error's status."""
        status = self._cygrpc.SendStatusFromServerOperation((), self._codes[error.status], str(error).encode(), 0)
        return (self._no_metadata, status)

    def _accept(self) -> bool:
        """Request one more call; False where the lane has been told not to."""
        with self._may_accept:
            if self._is_told_to_stop:
                return False
            self._core.request_registered_call(self._queue, self._queue, self._method, _ACCEPT)
        return True

    def _loop(self) -> None:
        poll = self._queue.poll
        shut_down = self._cygrpc.CompletionType.queue_shutdown
        receive = self._cygrpc.ReceiveMessageOperation
        unfinished, deferred = self._unfinished, DeferredCalls()
        late = 0  # of the unfinished: they have had their time, and others are received beside them
        receiving = _RECEIVING  # at once, beside those: fewer after large messages
        accepting = sum(self._accept() for _ in range(_OUTSTANDING))
        open_calls = 0
        arrived: list[LaneCall] = []
        has_work = False
        came_alone = False  # the last call that was handed on
        turn_at = time.time() + _IDLE_SECONDS
        while True:
            if not (accepting or open_calls or arrived):
                accepting = -1
                self._queue.shutdown()  # no operation may be started after this
            if arrived or has_work or (deferred and len(unfinished) < receiving + late):
                event = poll(_LONG_AGO)
            else:
                event = poll(time.time() + _LATE_SECONDS if deferred else turn_at)
            tag = event.tag
            if tag is _ACCEPT:
                if event.success:
                    accepting += self._accept() - 1
                    open_calls += 1
                    call = event.call
                    deadline = from_wall_clock(event.call_details.deadline)
                    if len(unfinished) < receiving + late:
                        tag = (call, deadline)
                        unfinished[id(tag)] = tag
                        call.start_server_batch((receive(0),), tag)
                    else:
                        deferred.add(call, deadline)
                else:
                    accepting -= 1  # the server is being stopped
            elif tag is None:
                if event.completion_type == shut_down:
                    return
                self.turns += 1
                if deferred:
                    if not (arrived or has_work) and len(unfinished) >= receiving + late:
                        late = len(unfinished)
                    for _ in range(min(receiving + late - len(unfinished), len(deferred))):
                        self._receive(deferred.pop())
                if not (arrived or has_work):
                    turn_at = time.time() + _IDLE_SECONDS
                    self._hand_on([])
                    continue
                came_alone = len(arrived) == 1
                has_work = self._hand_on(arrived)
                arrived = []
            elif type(tag) is tuple:
                call, deadline = tag
                del unfinished[id(tag)]
                late = min(late, len(unfinished))
                payload = event.batch_operations[0].message()
                if payload is None:
                    self._refuse_without_message(call, deadline)
                elif len(payload) <= SMALL:
                    arrived.append(LaneCall(self, call, payload, deadline))
                    if receiving < _RECEIVING:
                        receiving += 1
                    if deferred:
                        self._receive(deferred.pop())
                else:
                    receiving = _RECEIVING_LARGE
                    arrived += self._take_large(LaneCall(self, call, payload, deadline))
                if len(arrived) >= MAX_REQUESTS or (came_alone and open_calls == 1 and arrived):
                    has_work = self._hand_on(arrived)
                    arrived = []
            elif type(tag) is LaneCall:
                open_calls -= 1
                tag.let_go()
            elif event.batch_operations[0].cancelled():
                tag.on_cancel()
            event = tag = call = payload = None  # a call lives as long as anything that refers to it

    def _receive(self, tag: tuple[Any, float]) -> None:
        """Receive the message of a call whose turn it is."""
        self._unfinished[id(tag)] = tag
        tag[0].start_server_batch((self._cygrpc.ReceiveMessageOperation(0),), tag)

    def _hand_on(self, arrived: list[LaneCall]) -> bool:
        self.taken += len(arrived)
        if self._is_holding:
            self._held += arrived
            return True  # so that the loop comes back soon
        if self._held:
            arrived, self._held = self._held + arrived, []
        try:
            self._handler.take(arrived)
            return self._handler.work()
        except Exception as error:  # noqa: BLE001 - a defect must neither keep callers waiting nor end the lane
            hidden = InternalError.hiding(error)
            for call in arrived:
                call.refuse(hidden)
            return True

    def _take_large(self, call: LaneCall) -> list[LaneCall]:
        """Take a call's bytes from the budget; give it back if it is for the lane, neither refused nor handed on."""
        try:
            call.hold(len(call.payload))
            if len(call.payload) <= LARGE:
                return [call]
            self._handler.take_large(call)
        except TooMuchHeld as error:
            call.refuse(error)
        except Exception as error:  # noqa: BLE001 - a defect must neither keep the caller waiting nor end the lane
            call.refuse(InternalError.hiding(error))
        return []

    def _refuse_without_message(self, call: Any, deadline: float) -> None:  # noqa: ANN401 - grpcio's own
        """Refuse a call that was half-closed, or lost, before it sent a message: with the public server's message."""
        error = Unsupported(f"{self._method} requires exactly one request message.")
        LaneCall(self, call, b"", deadline).refuse(error)
