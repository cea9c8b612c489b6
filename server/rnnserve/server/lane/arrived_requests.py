"""A request that has arrived on the lane: the first of its three stages. By a call of its own, or on a stream."""

import abc
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from rnnserve.server.access.gate import Grant
from rnnserve.server.connections.byte_budget import RESPONSE_COPIES, SMALL, ByteBudget
from rnnserve.server.connections.private_socket import believed_peer, is_of_http
from rnnserve.server.counting.table import after_run, answering, count_http_answer, count_refusal
from rnnserve.server.errors import ServeError, TooMuchHeld
from rnnserve.server.grpcio_private.operations import Operations
from rnnserve.server.lane.varying_fields import read_id
from rnnserve.server.observing.origins import Origin, origin_of
from rnnserve.server.observing.runs import tell_refusal
from rnnserve.server.protocol.sequence_callers import StreamOwner

__all__ = ["ArrivedRequest", "CallHandler", "CallServices", "LaneCall"]


class CallServices(Protocol):
    """What a request needs of the lane that it has arrived on."""

    @property
    def operations(self) -> Operations:
        """What is started on calls."""

    @property
    def budget(self) -> ByteBudget:
        """The budget of bytes that requests and responses hold."""

    def wait_to_answer(self) -> None:
        """Wait while answers are held back."""

    def identity_of(self, call: Any, /) -> str:  # noqa: ANN401 - grpcio's own
        """Give the names in the certificate that the client of a call has shown; empty where it has shown none."""

    def certificate_of(self, call: Any, metadata: Sequence[Any], /) -> str:  # noqa: ANN401 - grpcio's own
        """Give the certificate that the client of a call, or of its front, has shown; empty for none.

        Args:
            call: The call.
            metadata: Metadata of the call, which a front's say whose it is.
        """


class ArrivedRequest(abc.ABC):
    """A request that has arrived, to be answered exactly once, from any thread.

    Attributes:
        payload: Its bytes, until it is answered.
        deadline: In seconds on the clock of `clock`; far in the future where the caller set none.
        is_answered: Whether it has been answered or refused.
        held_bytes: What it holds of the lane's budget.
        grant: What its token admits to; None where none was asked for.
        stream: The stream that it came on; None for a call of its own.
    """

    __slots__ = (
        "_connection", "_lane", "_room", "deadline", "grant", "held_bytes", "is_answered", "payload", "stream",
    )  # fmt: skip

    def __init__(self, lane: CallServices, payload: bytes, deadline: float, stream: StreamOwner | None) -> None:
        self._lane = lane
        self.payload = payload
        self.deadline = deadline
        self.stream = stream
        self.is_answered = False
        self.held_bytes = 0  # bytes of the lane's budget
        self.grant: Grant | None = None
        self._connection = ""  # its name, where that was asked for
        self._room = 0  # bytes of a response that its held bytes are for

    @abc.abstractmethod
    def peer(self) -> str:
        """Name the connection: the same for all of its requests."""

    @abc.abstractmethod
    def identity(self) -> str:
        """Give the names in the client's certificate; empty where it has shown none."""

    @abc.abstractmethod
    def origin(self) -> Origin:
        """Say where it comes from; before it is answered."""

    @abc.abstractmethod
    def watch(self, on_cancel: Callable[[], None]) -> None:
        """Call `on_cancel`, on the lane's thread, if the request is cancelled before it is answered."""

    @abc.abstractmethod
    def answer(self, payload: bytes) -> None:
        """Send the bytes of a ModelInferResponse, or that the budget of bytes is spent."""

    @abc.abstractmethod
    def refuse(self, error: ServeError) -> None:
        """Send an error."""

    def let_in(self, grant: Grant) -> None:
        """Count it among the requests of its token. For the lane's thread."""
        self.grant = grant
        grant.requests += 1

    def hold(self, size: int) -> None:
        """Take bytes from the lane's budget, in the place of those that it holds.

        Raises:
            TooMuchHeld: If the budget is spent; then it holds none.
        """
        self.let_go()
        self._lane.budget.take(self.peer(), size)
        self.held_bytes = size

    @abc.abstractmethod
    def is_counted(self, size: int) -> bool:
        """Tell whether a response of so many bytes takes them from the lane's budget."""

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
        """Take a response's bytes from the lane's budget; False where that is spent, and the request is refused."""
        self._lane.wait_to_answer()
        if self._room >= len(payload) > 0:
            return True
        try:
            self.hold(RESPONSE_COPIES * len(payload))
        except TooMuchHeld as error:
            self.refuse(after_run(error))
            return False
        return True

    def let_go(self) -> None:
        """Give back what it holds of the lane's budget."""
        if self.held_bytes:
            self._lane.budget.give_back(self._connection, self.held_bytes)
            self.held_bytes = 0


class CallHandler(Protocol):
    """What answers the requests, on the lane's thread."""

    def nap_seconds(self, calls: int, /) -> float:
        """Give the seconds for which the lane's thread, woken, sleeps before it looks for more; 0 for none.

        Args:
            calls: Number of calls in hand.
        """

    def take(self, arrived: list[ArrivedRequest]) -> None:
        """Take requests that have arrived together; each is to be answered, now or later. None where all is idle."""

    def take_large(self, request: ArrivedRequest) -> None:
        """Take a request of more than `LARGE` bytes, and answer it later: the lane has no time for it."""

    def work(self) -> bool:
        """Do some of what is to be done, and return whether more is: in between, the lane collects what arrives."""


class LaneCall(ArrivedRequest):
    """A call of ModelInfer: one request, one response and a status.

    Attributes:
        call: The call, as grpcio's core gives it.
    """

    __slots__ = ("_is_watched", "_metadata", "_told", "call")

    stream = None

    def __init__(
        self,
        lane: CallServices,
        call: Any,  # noqa: ANN401 - grpcio's own
        deadline: float,
        told: Sequence[Any] = (),
        metadata: Sequence[Any] = (),
    ) -> None:
        """Begin without the message: `payload` is set when it has arrived.

        Args:
            lane: The lane on which the call has arrived.
            call: The call.
            deadline: The caller's deadline, in seconds on the clock of `clock`.
            told: The call's metadata, where they may say whose call it is.
            metadata: Metadata of the call, whoever has sent it, for what is told of the request.
        """
        # Without `super().__init__`, which costs half a microsecond, as this does once a request.
        self._lane = lane
        self.deadline = deadline
        self.payload = b""
        self.is_answered = False
        self.held_bytes = 0
        self.grant = None
        self._connection = ""
        self._room = 0
        self.call = call
        self._told = told
        self._metadata = metadata
        self._is_watched = False

    def peer(self) -> str:
        """Name the connection: the same for all of its calls."""
        if not self._connection:
            connection = self.call.peer().decode()
            self._connection = believed_peer(connection, self._told) if self._told else connection
        return self._connection

    def origin(self) -> Origin:
        """Say where it comes from; before it is answered."""
        return origin_of(self.peer(), self._metadata, read_id(self.payload), "ModelInfer")

    def identity(self) -> str:
        """Give the names in the client's certificate; empty where it has shown none."""
        return self._lane.identity_of(self.call)

    def certificate(self) -> str:
        """Give the certificate that its client has shown; empty for none."""
        return self._lane.certificate_of(self.call, self._told)

    def _is_of_http(self) -> bool:
        """Whether it is of a client of the HTTP front."""
        return bool(self._told) and is_of_http(self.peer())

    def watch(self, on_cancel: Callable[[], None]) -> None:
        """Call `on_cancel`, on the lane's thread, if the call is cancelled before it is answered."""
        self._is_watched = True
        self.call.start_server_batch((self._lane.operations.new_close(),), _Watch(on_cancel))

    def answer(self, payload: bytes) -> None:
        """Send the response, or that the budget of bytes is spent."""
        # `is_counted`, without a call for each answer.
        if (len(payload) > SMALL or self.held_bytes) and not self.hold_response(payload):
            return
        if self.is_answered:
            return  # after a failure in the middle of a batch, all of the batch may be refused
        self.is_answered = True
        if self._told and self._is_of_http():
            count_http_answer(answering.counts)
        self.payload = b""  # what is sent may wait for its reader for long
        operations = self._lane.operations
        message = operations.send_message(payload, 0)
        if self._is_watched:
            self.call.start_server_batch((operations.no_metadata, message, operations.ok), self)
        else:
            self.call.start_server_batch((operations.no_metadata, message, operations.ok, operations.close), self)

    def is_counted(self, size: int) -> bool:
        """Tell whether a response of so many bytes takes them from the lane's budget."""
        return size > SMALL or self.held_bytes > 0

    def refuse(self, error: ServeError) -> None:
        """Send the status of an error."""
        if self.is_answered:
            return
        self.let_go()
        count_refusal(error, is_http=self._is_of_http())
        request_id = tell_refusal(self, error)
        self.is_answered = True
        self.payload = b""
        operations = self._lane.operations
        close = () if self._is_watched else (operations.close,)
        self.call.start_server_batch((operations.no_metadata, operations.status(error, request_id), *close), self)


class _Watch:
    """Tag of the event that says how a watched call closed."""

    __slots__ = ("_on_cancel",)

    def __init__(self, on_cancel: Callable[[], None]) -> None:
        self._on_cancel = on_cancel

    def complete(self, event: Any) -> None:  # noqa: ANN401 - grpcio's own
        """Tell of a cancellation."""
        if event.batch_operations[0].cancelled():
            self._on_cancel()
