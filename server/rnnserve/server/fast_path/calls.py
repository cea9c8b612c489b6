"""A request that has arrived, before it is parsed: a call here, or a message of a stream in `streams`.

Arrived requests pass the gate, if there is one, and large ones take their bytes from the budget (`Arrivals`).
"""

import abc
import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from rnnserve.protos.access_table import Need
from rnnserve.server.access.gate import Gate, Grant
from rnnserve.server.connections.byte_budget import LARGE, RESPONSE_COPIES, SMALL, ByteBudget
from rnnserve.server.connections.private_socket import believed_peer, is_of_http, shown_certificate
from rnnserve.server.counting.table import after_run, answering, count_http_answer, count_refusal
from rnnserve.server.errors import Cancelled, InternalError, ServeError, TooMuchHeld, Unsupported
from rnnserve.server.fast_path.grpcio_core import CoreTag, GrpcioCore
from rnnserve.server.fast_path.templates import read_id
from rnnserve.server.observing.observer import tell_refusal
from rnnserve.server.observing.origins import Origin, origin_of
from rnnserve.server.protocol.sequences import StreamOwner

__all__ = [
    "Arrivals",
    "ArrivedRequest",
    "Door",
    "FastDoor",
    "RequestBatch",
    "UnaryCall",
    "certificate_of",
]


class Door(Protocol):
    """Where requests arrive: the fast path, the path of control methods, or the plain transport."""

    budget: ByteBudget


class FastDoor(Door, Protocol):
    """The fast path, or the path of control methods, as calls and streams see it."""

    core: GrpcioCore
    handing_on: int
    """The thread's number while it hands on what has arrived, or 0 in between."""

    def call_is_over(self) -> None:
        """Note that the last event of a call has come. On the thread of its events."""


class ArrivedRequest(abc.ABC):
    """A request that has arrived, to be answered exactly once, from any thread."""

    __slots__ = ("_connection", "_door", "_room", "deadline", "grant", "held_bytes", "is_answered", "payload", "stream")

    def __init__(self, door: Door, payload: bytes, deadline: float, stream: StreamOwner | None) -> None:
        self._door = door
        self.payload = payload  # until it is answered
        self.deadline = deadline  # in seconds on the clock of `clock`; far in the future if the caller set none
        self.stream = stream  # None for a call
        self.is_answered = False  # or refused
        self.held_bytes = 0  # of the budget
        self.grant: Grant | None = None  # None if no token was asked for
        self._connection = ""  # its name, once it was asked for
        self._room = 0  # bytes of a response that its held bytes are for

    def peer(self) -> str:
        """Name the connection: the same for all of its requests."""
        return self._connection

    @abc.abstractmethod
    def origin(self) -> Origin:
        """Say where it comes from, before it is answered."""

    @abc.abstractmethod
    def watch(self, on_cancel: Callable[[], None]) -> None:
        """Call `on_cancel` if the request is cancelled before it is answered."""

    @abc.abstractmethod
    def answer(self, payload: bytes) -> None:
        """Send the bytes of a ModelInferResponse, or an error if the budget of bytes is spent."""

    def refuse(self, error: ServeError) -> None:
        """Count, log and send an error."""
        if self.is_answered:
            return  # after a failure in the middle of a batch, all of the batch may be refused
        self.let_go()
        count_refusal(error, is_http=is_of_http(self.peer()))
        request_id = tell_refusal(self, error)
        self.is_answered = True
        self._send_error(error, request_id)
        self.payload = b""

    def _send_error(self, error: ServeError, request_id: str) -> None:
        """Send an error, with the id that logs have of the request."""
        raise NotImplementedError

    def pass_gate(self, _: Gate) -> None:
        """Check a request of a stream, each of which is asked for itself. A call has passed before its message came."""
        grant = None if self.stream is None else self.stream.grant
        if grant is not None:
            grant.check(Need.INFER)
            self.let_in(grant)

    def let_in(self, grant: Grant) -> None:
        """Count it among the requests of its token. On the thread that takes requests."""
        self.grant = grant
        grant.requests += 1

    def is_counted(self, size: int) -> bool:
        """Whether a response of so many bytes takes them from the budget."""
        return size > SMALL or self.held_bytes > 0

    def hold(self, size: int) -> None:
        """Take bytes from the budget, in place of those that it holds. If the budget is spent, raise TooMuchHeld."""
        self.let_go()
        self._door.budget.take(self.peer(), size)
        self.held_bytes = size

    def make_room(self, size: int) -> None:
        """Take the bytes of a response before states are kept, which a refusal could not undo, or raise TooMuchHeld."""
        if self.is_counted(size):
            self.hold(RESPONSE_COPIES * size)
            self._room = size

    def hold_response(self, payload: bytes) -> bool:
        """Take a response's bytes from the budget. If it is spent, refuse the request and return False."""
        if self._room >= len(payload) > 0:
            return True
        try:
            self.hold(RESPONSE_COPIES * len(payload))
        except TooMuchHeld as error:
            self.refuse(after_run(error))
            return False
        return True

    def let_go(self) -> None:
        """Give back what it holds of the budget."""
        if self.held_bytes:
            self._door.budget.give_back(self._connection, self.held_bytes)
            self.held_bytes = 0


class Caller(Protocol):
    """A call that may be let in or refused."""

    grant: Grant | None

    def certificate(self) -> str:
        """Return the certificate that its client has shown, or an empty text."""

    def refuse(self, error: ServeError) -> None:
        """Refuse it."""


class RequestBatch(list[ArrivedRequest]):
    """Requests that came in one message. The size of `payload` is not that of one small request."""

    __slots__ = ()

    payload = bytes(SMALL + 1)


class UnaryCall(ArrivedRequest):
    """A call of ModelInfer on the fast path: one request, one response and a status."""

    __slots__ = ("_is_watched", "_metadata", "_said", "call")

    stream = None

    def __init__(
        self,
        door: FastDoor,
        call: Any,  # noqa: ANN401 - grpcio's own
        deadline: float,
        said: Sequence[Any] = (),
        metadata: Sequence[Any] = (),
    ) -> None:
        """Begin without the message, which comes later. `said` is the metadata if they may say whose call it is."""
        # Without `super().__init__`, which costs half a microsecond, as this does once a request.
        self._door: FastDoor = door
        self.deadline = deadline
        self.payload = b""
        self.is_answered = False
        self.held_bytes = 0
        self.grant = None
        self._connection = ""
        self._room = 0
        self.call = call
        self._said = said
        self._metadata = metadata
        self._is_watched = False

    def peer(self) -> str:
        """Name the connection: the same for all of its calls."""
        if not self._connection:
            connection = self.call.peer().decode()
            self._connection = believed_peer(connection, self._said) if self._said else connection
        return self._connection

    def origin(self) -> Origin:
        """Say where it comes from, before it is answered."""
        return origin_of(self.peer(), self._metadata, read_id(self.payload), "ModelInfer")

    def certificate(self) -> str:
        """Return the certificate that its client has shown, or an empty text."""
        return certificate_of(self._door.core, self.call, self._said)

    def watch(self, on_cancel: Callable[[], None]) -> None:
        """Call `on_cancel`, on the fast path's thread, if the call is cancelled before it is answered."""
        self._is_watched = True
        self.call.start_server_batch(
            (self._door.core.new_close(),), functools.partial(_tell_of_cancellation, on_cancel)
        )

    def answer(self, payload: bytes) -> None:
        """Send the response, or an error if the budget of bytes is spent."""
        # `is_counted`, without a call for each answer.
        if (len(payload) > SMALL or self.held_bytes) and not self.hold_response(payload):
            return
        if self.is_answered:
            return  # after a failure in the middle of a batch, all of the batch may be refused
        self.is_answered = True
        if self._said and is_of_http(self.peer()):
            count_http_answer(answering.counts)
        self.payload = b""  # the response may wait for its reader for long
        core = self._door.core
        message = core.send_message(payload, 0)
        if self._is_watched:
            self.call.start_server_batch((core.no_metadata, message, core.ok), self)
        else:
            self.call.start_server_batch((core.no_metadata, message, core.ok, core.close), self)

    def _send_error(self, error: ServeError, request_id: str) -> None:
        core = self._door.core
        close = () if self._is_watched else (core.close,)
        self.call.start_server_batch((core.no_metadata, core.status(error, request_id), *close), self)

    def end_without_message(self) -> None:
        """End a call whose message has not come: the client half-closed it, cancelled it, or has gone."""
        self.is_answered = True
        core, error = self._door.core, Unsupported("the method requires exactly one request message.")
        self.call.start_server_batch((core.no_metadata, core.status(error), core.new_close()), _NoMessage(self._door))


class _NoMessage(CoreTag):
    """Tag of the last event of a call without a message, which says whether the client had cancelled, and counts it."""

    __slots__ = ("_door",)

    def __init__(self, door: FastDoor) -> None:
        self._door = door

    def __call__(self, event: Any) -> None:  # noqa: ANN401 - grpcio's own
        is_cancelled = event.batch_operations[-1].cancelled()
        count_refusal(Cancelled("no message came") if is_cancelled else Unsupported("no message came"))
        self._door.call_is_over()


def _tell_of_cancellation(on_cancel: Callable[[], None], event: Any) -> None:  # noqa: ANN401 - grpcio's own
    if event.batch_operations[0].cancelled():
        on_cancel()


def certificate_of(core: GrpcioCore, call: Any, metadata: Sequence[Any]) -> str:  # noqa: ANN401 - grpcio's own
    """Return the certificate that the client of a call, or of its HTTP gateway, has shown, or an empty text."""
    return shown_certificate(call.peer().decode(), metadata, lambda: core.auth_context_of(call))


class Arrivals:
    """Says which calls and requests are handed on. For the thread that takes them."""

    def __init__(self, take_large: Callable[[ArrivedRequest], None], gate: Gate | None) -> None:
        """Prepare; `take_large` takes requests of more than `LARGE` bytes. Without a gate, all are let in."""
        self._take_large = take_large
        self._gate = gate

    def lets_in(self, call: Caller, metadata: Any) -> bool:  # noqa: ANN401 - grpcio's own
        """Let a call in, or refuse it."""
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

    def take(self, message: ArrivedRequest | RequestBatch) -> list[ArrivedRequest]:
        """Return the requests that are handed on now: those that were neither refused nor taken as large."""
        gate, taken = self._gate, list[ArrivedRequest]()
        for request in message if isinstance(message, RequestBatch) else (message,):
            try:
                if gate is not None:
                    request.pass_gate(gate)
                size = len(request.payload)
                if size > SMALL:
                    request.hold(size)
                if size <= LARGE:
                    taken.append(request)
                else:
                    self._take_large(request)
            except ServeError as error:
                request.refuse(error)
            except Exception as error:  # noqa: BLE001 - a defect must neither keep the caller waiting nor end the thread
                request.refuse(InternalError.hiding(error))
        return taken
