"""A request that has arrived, before it is parsed: a call here, or a message of a stream in `streams`."""

import abc
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from rnnserve.server.access.gate import Grant
from rnnserve.server.connections.byte_budget import RESPONSE_COPIES, SMALL, ByteBudget
from rnnserve.server.connections.private_socket import believed_peer, is_of_http, shown_certificate
from rnnserve.server.counting.table import after_run, answering, count_http_answer, count_refusal
from rnnserve.server.errors import Cancelled, ServeError, TooMuchHeld, Unsupported
from rnnserve.server.fast_path.grpcio_core import CoreTag, GrpcioCore
from rnnserve.server.fast_path.varying_fields import read_id
from rnnserve.server.observing.observer import tell_refusal
from rnnserve.server.observing.origins import Origin, origin_of
from rnnserve.server.protocol.sequences import StreamOwner

__all__ = ["ArrivedRequest", "CallHandler", "Door", "FastDoor", "UnaryCall", "certificate_of"]


class Door(Protocol):
    """Where requests arrive: the fast path, or the plain transport."""

    @property
    def budget(self) -> ByteBudget:
        """The budget of bytes that requests and responses hold."""


class FastDoor(Door, Protocol):
    """The fast path, as its calls and streams see it."""

    @property
    def core(self) -> GrpcioCore:
        """What is started on calls."""

    @property
    def handing_on(self) -> int:
        """The thread's number while it answers what has arrived, or 0 in between."""

    def call_is_over(self) -> None:
        """Note that the last event of a call has come. On the fast path's thread."""


class ArrivedRequest(abc.ABC):
    """A request that has arrived, to be answered exactly once, from any thread.

    Attributes:
        payload: Its bytes, until it is answered.
        deadline: In seconds on the clock of `clock`, or far in the future if the caller set none.
        is_answered: Whether it has been answered or refused.
        held_bytes: Bytes of the budget that it holds.
        grant: What its token admits to, or None if no token was asked for.
        stream: The stream that it came on, or None for a call.
    """

    __slots__ = ("_connection", "_door", "_room", "deadline", "grant", "held_bytes", "is_answered", "payload", "stream")

    def __init__(self, door: Door, payload: bytes, deadline: float, stream: StreamOwner | None) -> None:
        self._door = door
        self.payload = payload
        self.deadline = deadline
        self.stream = stream
        self.is_answered = False
        self.held_bytes = 0
        self.grant: Grant | None = None
        self._connection = ""  # its name, once it was asked for
        self._room = 0  # bytes of a response that its held bytes are for

    @abc.abstractmethod
    def peer(self) -> str:
        """Name the connection: the same for all of its requests."""

    @abc.abstractmethod
    def origin(self) -> Origin:
        """Say where it comes from; before it is answered."""

    @abc.abstractmethod
    def watch(self, on_cancel: Callable[[], None]) -> None:
        """Call `on_cancel` if the request is cancelled before it is answered."""

    @abc.abstractmethod
    def answer(self, payload: bytes) -> None:
        """Send the bytes of a ModelInferResponse, or that the budget of bytes is spent."""

    @abc.abstractmethod
    def refuse(self, error: ServeError) -> None:
        """Send an error."""

    def let_in(self, grant: Grant) -> None:
        """Count it among the requests of its token. On the thread that takes requests."""
        self.grant = grant
        grant.requests += 1

    def is_counted(self, size: int) -> bool:
        """Whether a response of so many bytes takes them from the budget."""
        return size > SMALL or self.held_bytes > 0

    def hold(self, size: int) -> None:
        """Take bytes from the budget, in place of those that it holds.

        Raises:
            TooMuchHeld: If the budget is spent; then it holds none.
        """
        self.let_go()
        self._door.budget.take(self.peer(), size)
        self.held_bytes = size

    def make_room(self, size: int) -> None:
        """Take the bytes of a response before it is sent: before states are kept, which a refusal could not undo.

        Args:
            size: Bytes of the response, or more.

        Raises:
            TooMuchHeld: If the budget is spent; then it holds none.
        """
        if self.is_counted(size):
            self.hold(RESPONSE_COPIES * size)
            self._room = size

    def hold_response(self, payload: bytes) -> bool:
        """Take a response's bytes from the budget, or False if the budget is spent, and the request is refused."""
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


class CallHandler(Protocol):
    """Answers the requests, on the thread that takes them."""

    def nap_seconds(self, calls: int, /) -> float:
        """Give the seconds for which the thread, woken, sleeps before it looks for more, or 0.

        Args:
            calls: Number of calls in flight.
        """

    def take(self, arrived: list[ArrivedRequest]) -> None:
        """Take requests that have arrived together, and answer each now or later. Empty when nothing has arrived."""

    def take_large(self, request: ArrivedRequest) -> None:
        """Take a request of more than `LARGE` bytes, and answer it later: the thread has no time for it."""

    def work(self) -> bool:
        """Run a batch, and return whether more waits: in between, the thread collects what arrives."""


class UnaryCall(ArrivedRequest):
    """A call of ModelInfer on the fast path: one request, one response and a status.

    Attributes:
        call: The call, as grpcio's core gives it.
    """

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
        """Begin without the message: `payload` is set when it has arrived.

        Args:
            door: The fast path.
            call: The call.
            deadline: The caller's deadline, in seconds on the clock of `clock`.
            said: The call's metadata, if they may say whose call it is.
            metadata: The call's metadata, for what is logged of the request.
        """
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
        """Say where it comes from; before it is answered."""
        return origin_of(self.peer(), self._metadata, read_id(self.payload), "ModelInfer")

    def certificate(self) -> str:
        """Give the certificate that its client has shown, or an empty text."""
        return certificate_of(self._door.core, self.call, self._said)

    def _is_of_http(self) -> bool:
        return bool(self._said) and is_of_http(self.peer())

    def watch(self, on_cancel: Callable[[], None]) -> None:
        """Call `on_cancel`, on the fast path's thread, if the call is cancelled before it is answered."""
        self._is_watched = True
        self.call.start_server_batch((self._door.core.new_close(),), _Watch(on_cancel))

    def answer(self, payload: bytes) -> None:
        """Send the response, or that the budget of bytes is spent."""
        # `is_counted`, without a call for each answer.
        if (len(payload) > SMALL or self.held_bytes) and not self.hold_response(payload):
            return
        if self.is_answered:
            return  # after a failure in the middle of a batch, all of the batch may be refused
        self.is_answered = True
        if self._said and self._is_of_http():
            count_http_answer(answering.counts)
        self.payload = b""  # the response may wait for its reader for long
        core = self._door.core
        message = core.send_message(payload, 0)
        if self._is_watched:
            self.call.start_server_batch((core.no_metadata, message, core.ok), self)
        else:
            self.call.start_server_batch((core.no_metadata, message, core.ok, core.close), self)

    def refuse(self, error: ServeError) -> None:
        """Send the status of an error."""
        if self.is_answered:
            return
        self.let_go()
        count_refusal(error, is_http=self._is_of_http())
        request_id = tell_refusal(self, error)
        self.is_answered = True
        self.payload = b""
        core = self._door.core
        close = () if self._is_watched else (core.close,)
        self.call.start_server_batch((core.no_metadata, core.status(error, request_id), *close), self)

    def end_without_message(self) -> None:
        """End a call whose message has not come: the client half-closed it, cancelled it, or has gone."""
        self.is_answered = True
        core, error = self._door.core, Unsupported("the method requires exactly one request message.")
        self.call.start_server_batch((core.no_metadata, core.status(error), core.new_close()), _NoMessage(self._door))


class _Watch:
    """Tag of the event that says how a watched call closed."""

    __slots__ = ("_on_cancel",)

    def __init__(self, on_cancel: Callable[[], None]) -> None:
        self._on_cancel = on_cancel

    def complete(self, event: Any) -> None:  # noqa: ANN401 - grpcio's own
        """Pass a cancellation on."""
        if event.batch_operations[0].cancelled():
            self._on_cancel()


class _NoMessage(CoreTag):
    """Tag of the last event of a call without a message: only then it is known whether the client had cancelled."""

    __slots__ = ("_door",)

    def __init__(self, door: FastDoor) -> None:
        self._door = door

    def complete(self, event: Any) -> None:  # noqa: ANN401 - grpcio's own
        """Count the call."""
        is_cancelled = event.batch_operations[-1].cancelled()
        count_refusal(Cancelled("no message came") if is_cancelled else Unsupported("no message came"))
        self._door.call_is_over()


def certificate_of(core: GrpcioCore, call: Any, metadata: Sequence[Any]) -> str:  # noqa: ANN401 - grpcio's own
    """Give the certificate that the client of a call, or of its HTTP gateway, has shown, or an empty text."""
    return shown_certificate(call.peer().decode(), metadata, lambda: core.auth_context_of(call))
