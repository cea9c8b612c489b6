"""The lane: one method of a public gRPC server, on a completion queue of our own.

grpcio's server takes an event at a time on one thread and hands each request to another. The lane polls its own queue
on one thread, takes everything that has arrived, and hands it on as one list. Ports, TLS, limits and every other method
stay with the public server.

This is the only module that touches what grpcio keeps private (`grpc._cython.cygrpc`, `server._state.server`);
`missing` says what of it a grpcio lacks.

How a call goes, as the queue reports it: a request-call event brings the call; one batch of operations receives its
message; one batch sends the answer and its status. Where somebody wants to know of a cancellation, a third waits for
the call to close; elsewhere that operation rides in the last batch, which saves an event a request.
"""

import importlib
import logging
import threading
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import grpc

from rnnserve.server.errors import InternalError, ServeError, Unsupported

__all__ = ["Lane", "LaneCall", "Serves", "missing"]

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

_OUTSTANDING = 256
"""How many calls may arrive between two looks at the queue without waiting for one of them."""

_MOST = 256
"""How many requests are handed on at once at the most: the first of them have waited long enough."""

_ACCEPT = object()


def missing(server: grpc.Server) -> str | None:
    """Say what this grpcio lacks of what the lane needs, or None where it has all."""
    try:
        cygrpc = importlib.import_module("grpc._cython.cygrpc")
        core = server._state.server  # type: ignore[attr-defined]  # noqa: SLF001 - see above
    except (ImportError, AttributeError) as error:
        return f"grpcio {grpc.__version__}: {error}"
    lacking = [name for name in _NEEDED if not hasattr(cygrpc, name)]
    lacking += [f"Server.{name}" for name in _NEEDED_OF_SERVER if not hasattr(core, name)]
    return f"grpcio {grpc.__version__} lacks {', '.join(lacking)}" if lacking else None


class LaneCall:
    """A request that has arrived, to be answered exactly once, from any thread.

    Attributes:
        payload: The request's bytes.
        deadline: In seconds since the epoch; far in the future where the caller set none.
        cancelled: Whether the caller is known to have gone; see `watch`.
    """

    __slots__ = ("_call", "_lane", "_watched", "answered", "cancelled", "deadline", "payload")

    payload: bytes

    def __init__(self, lane: "Lane[Any]", call: Any, deadline: float) -> None:  # noqa: ANN401 - private to grpcio
        self._lane = lane
        self._call = call
        self._watched = False
        self.answered = False
        self.cancelled = False
        self.deadline = deadline

    def peer(self) -> str:
        """Name the connection: the same for all of its calls."""
        name: str = self._call.peer().decode()
        return name

    def watch(self, on_cancel: Callable[[], None] | None = None) -> None:
        """Note in `cancelled` if the caller goes before the answer does, and call `on_cancel`, on the lane's thread."""
        self._watched = True
        operation = self._lane.cygrpc.ReceiveCloseOnServerOperation(0)
        self._call.start_server_batch((operation,), _Closed(self, on_cancel))

    def answer(self, payload: bytes) -> None:
        """Send the response."""
        lane = self._lane
        self._finish((lane.no_metadata, lane.send_message(payload, 0), lane.ok))

    def refuse(self, error: ServeError) -> None:
        """Send the status that an error stands for."""
        lane = self._lane
        status = lane.cygrpc.SendStatusFromServerOperation((), lane.codes[error.status], str(error).encode(), 0)
        self._finish((lane.no_metadata, status))

    def _finish(self, operations: tuple[object, ...]) -> None:
        if self.answered:
            return  # whoever failed half-way through a batch may refuse all of it
        self.answered = True
        self._call.start_server_batch(operations if self._watched else (*operations, self._lane.close), self)


class _Closed:
    """Tag of the event that says how a watched call closed."""

    __slots__ = ("call", "on_cancel")

    def __init__(self, call: LaneCall, on_cancel: Callable[[], None] | None) -> None:
        self.call = call
        self.on_cancel = on_cancel


T = TypeVar("T", bound=LaneCall)


class Serves(Protocol[T]):
    """What answers the calls, on the lane's thread."""

    @property
    def call_type(self) -> type[T]:
        """What calls are made as: `LaneCall`, or a class that adds what is to be noted of each."""

    def take(self, arrived: list[T]) -> None:
        """Take calls that have arrived together; each is to be answered, now or later."""

    def work(self) -> bool:
        """Do some of what is to be done, and return whether more is: the lane looks in between who has arrived."""


class Lane(Generic[T]):
    """Serves one unary method of a server that has not been started yet."""

    def __init__(self, server: grpc.Server, method: str, serves: Serves[T]) -> None:
        """Register the method; `start` begins to serve it, after the server has been started.

        Args:
            server: A public server, for which `missing` has found nothing.
            method: Its full name, "/package.Service/Method".
            serves: What answers the calls.
        """
        self.cygrpc: Any = importlib.import_module("grpc._cython.cygrpc")
        # Operations that every answer has, made once. Calls may share them in flight: empty metadata and details own no
        # memory, so that nothing is freed twice (`operation.pyx.pxi`), and what the last one finds out nobody asks for.
        self.no_metadata = self.cygrpc.SendInitialMetadataOperation((), 0)
        self.ok = self.cygrpc.SendStatusFromServerOperation((), self.cygrpc.StatusCode.ok, b"", 0)
        self.close = self.cygrpc.ReceiveCloseOnServerOperation(0)
        self.send_message = self.cygrpc.SendMessageOperation
        self.codes = {code: getattr(self.cygrpc.StatusCode, code.name.lower()) for code in grpc.StatusCode}
        self._method = method
        self._serves = serves
        self._core = server._state.server  # type: ignore[attr-defined]  # noqa: SLF001 - see above
        self._core.register_method(method)
        self._queue = self.cygrpc.CompletionQueue()
        self._core.register_completion_queue(self._queue)
        self._may_accept = threading.Lock()
        self._is_told_to_stop = False
        self._thread = threading.Thread(target=self._loop, name="lane", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop_accepting(self) -> None:
        """Ask for no more calls. To be called before the server is stopped.

        Asking lets go of Python's lock, so a server that is stopped at that moment may be destroyed under it, which
        ends the process.
        """
        with self._may_accept:
            self._is_told_to_stop = True

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end, which comes when the server has been stopped and every call has been answered."""
        self._thread.join(timeout)

    def _accept(self) -> bool:
        """Ask for one more call; False where it has been told not to."""
        with self._may_accept:
            if self._is_told_to_stop:
                return False
            self._core.request_registered_call(self._queue, self._queue, self._method, _ACCEPT)
        return True

    def _loop(self) -> None:
        poll = self._queue.poll
        call_type = self._serves.call_type
        shut_down = self.cygrpc.CompletionType.queue_shutdown
        receive = self.cygrpc.ReceiveMessageOperation
        accepting = sum(self._accept() for _ in range(_OUTSTANDING))
        open_calls = 0
        arrived: list[T] = []
        more = False
        one_by_one = False  # the last call came alone
        while True:
            if not (accepting or open_calls or arrived):
                accepting = -1
                self._queue.shutdown()  # no operation may be started from here on
            event = poll(_LONG_AGO) if arrived or more else poll()
            tag = event.tag
            if tag is _ACCEPT:
                if event.success:
                    accepting += self._accept() - 1
                    open_calls += 1
                    call = call_type(self, event.call, event.call_details.deadline)
                    event.call.start_server_batch((receive(0),), call)
                else:
                    accepting -= 1  # the server is being stopped
            elif tag is None:
                if event.completion_type == shut_down:
                    return
                one_by_one = len(arrived) == 1
                more = self._hand_on(arrived)
                arrived = []
            elif type(tag) is _Closed:
                if event.batch_operations[0].cancelled():
                    _cancel(tag)
            elif tag.answered:
                open_calls -= 1
            else:
                tag.payload = event.batch_operations[0].message()
                if tag.payload is None:
                    self._refuse_nothing(tag)
                else:
                    arrived.append(tag)
                    if len(arrived) >= _MOST or (one_by_one and open_calls == 1):
                        more = self._hand_on(arrived)
                        arrived = []
            event = None  # a call lives as long as the event that brought it

    def _hand_on(self, arrived: list[T]) -> bool:
        try:
            self._serves.take(arrived)
            return self._serves.work()
        except Exception as error:  # noqa: BLE001 - a defect must neither keep callers waiting nor end the lane
            hidden = InternalError.hiding(error)
            for call in arrived:
                call.refuse(hidden)
            return True

    def _refuse_nothing(self, call: LaneCall) -> None:
        """Refuse a call that was half-closed, or lost, before it sent a message: in the public server's words."""
        call.refuse(Unsupported(f"{self._method} requires exactly one request message."))


def _cancel(closed: _Closed) -> None:
    closed.call.cancelled = True
    if closed.on_cancel is not None:
        closed.on_cancel()
