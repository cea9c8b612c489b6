"""Calls on the lane that wait to be run: parsed ones, and those recognised by their prefix."""

import math
from collections.abc import Callable, Mapping

from rnnserve.server.batching.lateness import earlier
from rnnserve.server.batching.pending import PendingRequest
from rnnserve.server.boundary.checked_request import Array, CheckedRequest
from rnnserve.server.errors import InternalError, ServeError
from rnnserve.server.lane.arrived_requests import ArrivedRequest
from rnnserve.server.lane.prefixes import Recognised, RequestPrefix
from rnnserve.server.protocol.responses import encode_response
from rnnserve.server.protocol.sequence_turns import Step
from rnnserve.server.protocol.service import Service
from rnnserve.server.repository.repository import ServedVersion

__all__ = ["ParsedCall", "PendingCall", "RecognisedCall", "StepCall"]


class PendingCall(PendingRequest):
    """A call on the lane that waits.

    Attributes:
        call: The call.
        served: The version that it asks.
        prefix: Its prefix where that was recognised, else None.
        id_field: Its id's field, tag and size included, where the prefix was recognised; else empty.
    """

    __slots__ = ("call", "id_field", "prefix", "served")

    def __init__(
        self,
        call: ArrivedRequest,
        served: ServedVersion,
        rows: int,
        steps: int,
        arrived: float,
        prefix: RequestPrefix | None = None,
        id_field: bytes = b"",
    ) -> None:
        # Without `super().__init__`, which costs half a microsecond, as this does once a request.
        self.rows = rows
        self.steps = steps
        self.deadline = call.deadline
        self.arrived = arrived
        self.timeout = math.inf
        self.call = call
        self.served = served
        self.prefix = prefix
        self.id_field = id_field

    @property
    def connection(self) -> str:
        """Names its connection."""
        return self.call.peer()

    def watch(self) -> None:
        """Note a cancellation as soon as it comes. It costs two events a request, so it is for those that wait long."""
        self.call.watch(self.cancel)

    def refuse(self, error: ServeError) -> None:
        """Answer with an error."""
        self.call.refuse(error)


class ParsedCall(PendingCall):
    """A call that has passed the boundary."""

    __slots__ = ("_checked",)

    def __init__(self, call: ArrivedRequest, served: ServedVersion, checked: CheckedRequest, arrived: float) -> None:
        super().__init__(call, served, checked.batch, checked.steps, arrived)
        self._checked = checked
        self.deadline, self.timeout = earlier(call.deadline, arrived, checked.timeout)

    def check(self) -> CheckedRequest:
        """Give the checked request."""
        return self._checked

    def answer(self, outputs: Mapping[str, Array]) -> None:
        """Answer with the outputs asked for."""
        self.call.answer(encode_response(self.served.model, self._checked, outputs))


class RecognisedCall(PendingCall):
    """A call whose prefix is known: its sizes are, and its values are checked when it is run."""

    __slots__ = ("_known", "_service", "_varying_size")

    def __init__(self, call: ArrivedRequest, found: Recognised, arrived: float, service: Service) -> None:
        prefix = found.prefix
        super().__init__(call, prefix.served, prefix.batch, prefix.steps, arrived, prefix, found.id_field)
        self._known = prefix
        self._varying_size = found.varying_size
        self._service = service

    def check(self) -> CheckedRequest:
        """Check the values: at once where all are plainly valid, else at the boundary, for the version it began with.

        Raises:
            ServeError: If the request does not pass the boundary.
        """
        payload = self.call.payload
        checked = self._known.read(payload, self._varying_size)
        return self._service.check(payload, self.served) if checked is None else checked

    def answer(self, outputs: Mapping[str, Array]) -> None:
        """Answer with the outputs asked for."""
        self.call.answer(self._known.head.encode(self.id_field, outputs.values()))


class StepCall(PendingCall):
    """A call that is a request of a sequence. It refers to its step, and its step not to it: so it leaves no cycle."""

    may_be_displaced = False  # those that wait for their turn behind it would be run without it

    __slots__ = ("_call", "_submit", "step")

    def __init__(self, call: PendingCall, step: Step, prefix: RequestPrefix | None) -> None:
        """Wait in the place of `call`.

        Args:
            call: The request without its sequence.
            step: What it is in its sequence.
            prefix: The prefix of requests of sequences that it has; None where it has none.
        """
        super().__init__(call.call, call.served, call.rows, call.steps, call.arrived, prefix, call.id_field)
        self._call = call
        self._submit: Callable[[StepCall], None] = _lost
        self.step = step
        self.deadline, self.timeout = call.deadline, call.timeout

    def line_up(self, submit: Callable[["StepCall"], None]) -> bool:
        """Line up in its sequence; return whether it may be submitted now. If not, that comes later, or a refusal."""
        self._submit = submit
        try:
            return self.step.line_up(self)
        except Exception as error:  # noqa: BLE001 - a defect must neither keep the caller waiting nor hold up the sequence
            self.refuse(error if isinstance(error, ServeError) else InternalError.hiding(error))
            return False

    def take_turn(self) -> None:
        """Be submitted, now that the requests before it have been answered."""
        self._submit(self)

    def check(self) -> CheckedRequest:
        """Give the checked request with its sequence's states.

        Raises:
            ServeError: If the request does not pass the boundary, or does not continue its sequence.
        """
        return self.step.with_states(self._call.check())

    def answer(self, outputs: Mapping[str, Array]) -> None:
        """Keep the states, and answer with the outputs asked for."""
        try:
            asked = self.step.finish(outputs)
        except ServeError as error:
            self.refuse(error)
        else:
            self._call.answer(asked)

    def answer_encoded(self, response: bytes, states: tuple[bytes, ...]) -> None:
        """Keep the states, and answer with the bytes of a response."""
        try:
            self.step.keep(states, self.rows)
        except ServeError as error:
            self.refuse(error)
        else:
            self.call.answer(response)

    def refuse(self, error: ServeError) -> None:
        """Leave the sequence as it was, and answer with an error."""
        try:
            self._call.refuse(error)
        finally:
            self.step.fail()


def _lost(_: StepCall) -> None:
    raise AssertionError("the step was queued before it could be submitted")
