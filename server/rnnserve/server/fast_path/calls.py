"""Requests from their arrival to their response: arrived, and then pending.

Unary calls are here, and messages of a stream are in `streams`. Arrived requests pass the gate, if there is one. Large
requests reserve their bytes in the budget (`Arrivals`). A pending request waits to be run, and responds.
"""

import abc
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, Self

from rnnserve.protos.access_table import Need
from rnnserve.server.access.gate import Gate, Grant
from rnnserve.server.batching.execution import PendingRequest, earlier
from rnnserve.server.connections.byte_budget import LARGE, RESPONSE_COPIES, SMALL, ByteBudget
from rnnserve.server.connections.private_socket import believed_peer, is_of_http, shown_certificate
from rnnserve.server.counting.table import after_run, answering, count_http_answer, count_refusal
from rnnserve.server.errors import Cancelled, InternalError, ServeError, TooMuchHeld, Unsupported
from rnnserve.server.fast_path.grpcio_core import CoreTag, GrpcioCore
from rnnserve.server.fast_path.templates import RequestPrefix, read_id
from rnnserve.server.observing.observer import tell_refusal
from rnnserve.server.observing.origins import Origin, origin_of
from rnnserve.server.protocol.responses import encode_response
from rnnserve.server.protocol.sequences import Sequences, Step, StreamOwner
from rnnserve.server.protocol.service import Service
from rnnserve.server.repository.model import Model
from rnnserve.server.repository.repository import ServedVersion
from rnnserve.server.validation.signature import Array, CheckedRequest, SequenceControl

__all__ = [
    "Arrivals",
    "ArrivedRequest",
    "Door",
    "FastDoor",
    "PendingCall",
    "RequestBatch",
    "StepCall",
    "TakeStep",
    "UnaryCall",
    "certificate_of",
    "pending_of",
]

_MOST_BESIDE = 4096
"""Maximum bytes of a response in addition to its tensors: names, shapes and parameters."""

TakeStep = Callable[[Model, "StepCall"], None]
"""Takes a sequence request when its turn comes after its admission."""


class Door(Protocol):
    """A source of requests: the fast path, the control methods' path, or the plain transport."""

    budget: ByteBudget


class FastDoor(Door, Protocol):
    """The fast path or the control methods' path, as seen by calls and streams."""

    core: GrpcioCore
    handing_on: int
    """The thread's number while it dispatches arrived requests, otherwise 0."""

    def call_is_over(self) -> None:
        """Record that the last event of a call has arrived. Called on the thread of the call's events."""


class ArrivedRequest(abc.ABC):
    """An arrived request. It is answered exactly once, from any thread."""

    __slots__ = ("_connection", "_door", "_room", "deadline", "grant", "held_bytes", "is_answered", "payload", "stream")

    def __init__(self, door: Door, payload: bytes, deadline: float, stream: StreamOwner | None) -> None:
        self._door = door
        self.payload = payload  # until the response
        self.deadline = deadline  # in seconds on `clock` (far in the future if the caller set none)
        self.stream = stream  # None for a unary call
        self.is_answered = False  # or refused
        self.held_bytes = 0  # reserved in the budget
        self.grant: Grant | None = None  # None if no credentials are required
        self._connection = ""  # name of the connection, computed on demand
        self._room = 0  # size of the response that its reserved bytes are for

    def peer(self) -> str:
        """Return the connection's name, equal for all of its requests."""
        return self._connection

    @abc.abstractmethod
    def origin(self) -> Origin:
        """Return the request's origin. Valid only before the response."""

    @abc.abstractmethod
    def watch(self, on_cancel: Callable[[], None]) -> None:
        """Call `on_cancel` if the request is cancelled before the response."""

    @abc.abstractmethod
    def answer(self, payload: bytes) -> None:
        """Send the bytes of a ModelInferResponse, or an error if the byte budget is exhausted."""

    def refuse(self, error: ServeError) -> None:
        """Count, log and send an error."""
        if self.is_answered:
            return  # after a failure within a batch, every request of the batch may be refused
        self.let_go()
        count_refusal(error, is_http=is_of_http(self.peer()))
        request_id = tell_refusal(self, error)
        self.is_answered = True
        self._send_error(error, request_id)
        self.payload = b""

    def _send_error(self, error: ServeError, request_id: str) -> None:
        """Send an error with the request's id as used in logs."""
        raise NotImplementedError

    def pass_gate(self, _: Gate) -> None:
        """Check a request of a stream: each needs a valid grant. Unary calls were checked before their message."""
        grant = None if self.stream is None else self.stream.grant
        if grant is not None:
            grant.check(Need.INFER)
            self.let_in(grant)

    def let_in(self, grant: Grant) -> None:
        """Count the request for its token. Only for the thread that receives requests."""
        self.grant = grant
        grant.requests += 1

    def is_counted(self, size: int) -> bool:
        """Return whether a response of this size needs bytes from the budget."""
        return size > SMALL or self.held_bytes > 0

    def hold(self, size: int) -> None:
        """Reserve `size` bytes instead of the current reservation, or raise TooMuchHeld."""
        self.let_go()
        self._door.budget.take(self.peer(), size)
        self.held_bytes = size

    def make_room(self, size: int) -> None:
        """Reserve a response's bytes, or raise TooMuchHeld. Call it before storing states, which can't be undone."""
        if self.is_counted(size):
            self.hold(RESPONSE_COPIES * size)
            self._room = size

    def hold_response(self, payload: bytes) -> bool:
        """Reserve the bytes of a response. If the budget is exhausted, refuse the request and return False."""
        if self._room >= len(payload) > 0:
            return True
        try:
            self.hold(RESPONSE_COPIES * len(payload))
        except TooMuchHeld as error:
            self.refuse(after_run(error))
            return False
        return True

    def let_go(self) -> None:
        """Release the reserved bytes."""
        if self.held_bytes:
            self._door.budget.give_back(self._connection, self.held_bytes)
            self.held_bytes = 0


class Caller(Protocol):
    """A call that the gate accepts or refuses."""

    grant: Grant | None

    def certificate(self) -> str:
        """Return the client's certificate, or an empty string."""

    def refuse(self, error: ServeError) -> None:
        """Refuse the call."""


class RequestBatch(list[ArrivedRequest]):
    """Requests from one message. `payload` is a dummy above the size of a small request."""

    __slots__ = ()

    payload = bytes(SMALL + 1)


class UnaryCall(ArrivedRequest):
    """A ModelInfer call on the fast path: one request, one response and a status."""

    __slots__ = ("_is_watched", "_metadata", "_said", "call")

    stream = None

    def __init__(
        self,
        door: FastDoor,
        call: Any,  # noqa: ANN401 - grpcio's type
        deadline: float,
        said: Sequence[Any] = (),
        metadata: Sequence[Any] = (),
    ) -> None:
        """Start a call before its message arrives. `said` is the metadata if it may name the gateway's client."""
        # Without `super().__init__`, because a call costs half a microsecond and this runs for each request.
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
        """Return the connection's name, equal for all of its calls."""
        if not self._connection:
            connection = self.call.peer().decode()
            self._connection = believed_peer(connection, self._said) if self._said else connection
        return self._connection

    def origin(self) -> Origin:
        """Return the request's origin. Valid only before the response."""
        return origin_of(self.peer(), self._metadata, read_id(self.payload), "ModelInfer")

    def certificate(self) -> str:
        """Return the client's certificate, or an empty string."""
        return certificate_of(self._door.core, self.call, self._said)

    def watch(self, on_cancel: Callable[[], None]) -> None:
        """Call `on_cancel` on the fast path's thread if the call is cancelled before the response."""
        self._is_watched = True
        self.call.start_server_batch(
            (self._door.core.new_close(),), functools.partial(_tell_of_cancellation, on_cancel)
        )

    def answer(self, payload: bytes) -> None:
        """Send the response, or an error if the byte budget is exhausted."""
        # `is_counted`, inlined to save a call per response.
        if (len(payload) > SMALL or self.held_bytes) and not self.hold_response(payload):
            return
        if self.is_answered:
            return  # after a failure within a batch, every request of the batch may be refused
        self.is_answered = True
        if self._said and is_of_http(self.peer()):
            count_http_answer(answering.counts)
        self.payload = b""  # the response may wait a long time for its reader
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
        """End a call without a message: the client has half-closed, cancelled or disconnected."""
        self.is_answered = True
        core, error = self._door.core, Unsupported("the method requires exactly one request message.")
        self.call.start_server_batch((core.no_metadata, core.status(error), core.new_close()), _NoMessage(self._door))


class _NoMessage(CoreTag):
    """Handles the last event of a call without a message: counts it as cancelled or unsupported."""

    __slots__ = ("_door",)

    def __init__(self, door: FastDoor) -> None:
        self._door = door

    def __call__(self, event: Any) -> None:  # noqa: ANN401 - grpcio's type
        is_cancelled = event.batch_operations[-1].cancelled()
        count_refusal(Cancelled("no message came") if is_cancelled else Unsupported("no message came"))
        self._door.call_is_over()


def _tell_of_cancellation(on_cancel: Callable[[], None], event: Any) -> None:  # noqa: ANN401 - grpcio's own
    if event.batch_operations[0].cancelled():
        on_cancel()


def certificate_of(core: GrpcioCore, call: Any, metadata: Sequence[Any]) -> str:  # noqa: ANN401 - grpcio's type
    """Return the certificate of the call's client, or of the client behind the HTTP gateway, if any."""
    return shown_certificate(call.peer().decode(), metadata, lambda: core.auth_context_of(call))


class Arrivals:
    """Decides which arrived calls and requests are dispatched. Only for the thread that receives them."""

    def __init__(self, take_large: Callable[[ArrivedRequest], None], gate: Gate | None) -> None:
        """Create it. `take_large` takes requests above `LARGE` bytes. Without a gate, all requests are accepted."""
        self._take_large = take_large
        self._gate = gate

    def lets_in(self, call: Caller, metadata: Any) -> bool:  # noqa: ANN401 - grpcio's type
        """Return whether the gate accepts a call, and refuse the call if not."""
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
        """Return the requests to dispatch now, without refused and large ones."""
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
            except Exception as error:  # noqa: BLE001 - a defect must not leave the caller waiting or end the thread
                request.refuse(InternalError.hiding(error))
        return taken


class PendingCall(PendingRequest):
    """A pending call: parsed, or recognized by its template and checked when it runs."""

    __slots__ = ("call", "id_field", "prefix", "served", "source")

    def __init__(
        self,
        call: ArrivedRequest,
        served: ServedVersion,
        rows: int,
        steps: int,
        arrived: float,
        source: CheckedRequest | Service,
        prefix: RequestPrefix | None = None,
        id_field: bytes = b"",
    ) -> None:
        # Without `super().__init__`, because a call costs half a microsecond and this runs for each request.
        self.rows = rows
        self.steps = steps
        self.deadline = call.deadline
        self.arrived = arrived
        self.timeout = math.inf
        self.call = call
        self.served = served  # the requested version
        self.prefix = prefix  # the template (None if the request was parsed)
        self.id_field = id_field  # the id field with tag and size, if recognized
        self.source = source  # the checked request, or the service that checks a recognized request

    @property
    def connection(self) -> str:
        """The name of its connection."""
        return self.call.peer()

    def watch(self) -> None:
        """Notice a cancellation as soon as it arrives. This costs two events per request: only for long waits."""
        self.call.watch(self.cancel)

    def check(self) -> CheckedRequest:
        """Return the checked request. Fully validates a recognized request if its values need it."""
        if isinstance(self.source, CheckedRequest):
            return self.source
        payload = self.call.payload
        checked = None if self.prefix is None else self.prefix.read(payload)
        return self.source.check(payload, self.served) if checked is None else checked

    def answer(self, outputs: Mapping[str, Array]) -> None:
        """Respond with the requested outputs."""
        if self.prefix is not None:
            self.call.answer(self.prefix.head.encode(self.id_field, outputs.values()))
        else:
            self.call.answer(encode_response(self.served.model, self.check(), outputs))

    def refuse(self, error: ServeError) -> None:
        """Respond with an error."""
        self.call.refuse(error.of(self.served.model.statistics.counts).of_request(self.rows, self.arrived))

    def origin(self) -> Origin:
        """Return the request's origin. Valid only before the response."""
        return self.call.origin()


class StepCall(PendingCall):
    """A call of a sequence. It refers to its step, but the step doesn't refer to it, so they form no cycle."""

    __slots__ = ("_pending", "_submit", "step")

    step: Step  # set by `enter`

    def __init__(self, call: PendingCall, prefix: RequestPrefix | None, submit: TakeStep) -> None:
        """Wrap a call. `prefix` is the template for sequence requests, if there is one."""
        served = call.served.of_sequences
        super().__init__(call.call, served, call.rows, call.steps, call.arrived, call.source, prefix, call.id_field)
        self.deadline, self.timeout = call.deadline, call.timeout
        self._pending = call
        self._submit = submit

    def enter(self, sequences: Sequences, control: SequenceControl) -> Self | None:
        """Enter the sequence as `Sequences.enter` does. Return the call if its turn has come."""
        self.step = Step(sequences, self._pending.served, control)
        return self if sequences.enter(self.step, self.call, self) else None

    def take_turn(self) -> None:
        """Submit the call, because all requests before it in the sequence have been answered."""
        self._submit(self.served.model, self)

    def check(self) -> CheckedRequest:
        """Return the checked request with the sequence's states."""
        return self.step.with_states(self._pending.check())

    def refuse(self, error: ServeError) -> None:
        """Respond with an error and keep the sequence unchanged."""
        try:
            self._pending.refuse(error)
        finally:
            self.step.fail()

    def answer(self, outputs: Mapping[str, Array] | tuple[bytes, tuple[bytes, ...]]) -> None:
        """Store the states and respond with the outputs or encoded bytes. Refuse if the byte budget is exhausted."""
        try:
            if isinstance(outputs, tuple):
                response, states = outputs
                self.call.make_room(len(response))
                self.step.keep(states, self.rows)
            else:
                self.call.make_room(sum([array.nbytes for array in outputs.values()]) + _MOST_BESIDE)
                asked = self.step.finish(outputs)
        except ServeError as error:
            self.refuse(after_run(error))
        else:
            if isinstance(outputs, tuple):
                self.call.answer(response)
            else:
                self._pending.answer(asked)


def pending_of(
    call: ArrivedRequest,
    served: ServedVersion,
    checked: CheckedRequest,
    arrived: float,
    service: Service,
    take_step: TakeStep,
) -> PendingCall | None:
    """Return the pending call for a checked request, or None if its turn in a sequence comes later."""
    parsed = PendingCall(call, served, checked.batch, checked.steps, arrived, checked)
    parsed.deadline, parsed.timeout = earlier(call.deadline, arrived, checked.timeout)
    if checked.sequence is None:
        return parsed
    try:
        return StepCall(parsed, None, take_step).enter(service.sequences, checked.sequence)
    except ServeError as error:
        raise error.of(served.model.statistics.counts)  # noqa: B904 - the same error
