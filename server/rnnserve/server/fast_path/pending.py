"""Calls on the fast path that wait to be run: parsed ones, and those recognised by their prefix."""

import math
from collections.abc import Callable, Mapping
from typing import Self

from rnnserve.server.batching.pending import PendingRequest, earlier
from rnnserve.server.counting.table import after_run
from rnnserve.server.errors import ServeError
from rnnserve.server.fast_path.calls import ArrivedRequest
from rnnserve.server.fast_path.templates import Recognised, RequestPrefix
from rnnserve.server.observing.origins import Origin
from rnnserve.server.protocol.responses import encode_response
from rnnserve.server.protocol.sequences import Sequences, Step
from rnnserve.server.protocol.service import Service
from rnnserve.server.repository.model import Model
from rnnserve.server.repository.repository import ServedVersion
from rnnserve.server.validation.checked_request import Array, CheckedRequest, SequenceControl

__all__ = ["ParsedCall", "PendingCall", "RecognisedCall", "StepCall"]

_MOST_BESIDE = 4096
"""Bytes of a response beside those of its tensors, at the most: names, shapes and parameters."""


class PendingCall(PendingRequest):
    """A call on the fast path that waits.

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
        self.call.refuse(error.of(self.served.model.statistics.counts).of_request(self.rows, self.arrived))

    def origin(self) -> Origin:
        """Say where it comes from; before it is answered."""
        return self.call.origin()


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
    """A call that is a request of a sequence, in the place of the same call without its sequence.

    It refers to its step, and its step not to it: so it leaves no cycle.

    Attributes:
        step: What it is in its sequence; from `enter` on.
    """

    __slots__ = ("_pending", "_submit", "step")

    step: Step

    def __init__(
        self, call: PendingCall, prefix: RequestPrefix | None, submit: Callable[[Model, "StepCall"], None]
    ) -> None:
        """Take the prefix of requests of sequences that it has, if any, and what takes it when its turn comes later."""
        served = call.served.of_sequences
        super().__init__(call.call, served, call.rows, call.steps, call.arrived, prefix, call.id_field)
        self.deadline, self.timeout = call.deadline, call.timeout
        self._pending = call
        self._submit = submit

    def enter(self, sequences: Sequences, control: SequenceControl) -> Self | None:
        """Take the request into its sequence; return it if it has its turn, and may be submitted now.

        Raises what `Sequences.enter` raises; then it has not been answered.
        """
        self.step = Step(sequences, self._pending.served, control)
        return self if sequences.enter(self.step, self.call, self) else None

    def take_turn(self) -> None:
        """Be submitted, now that the requests before it have been answered."""
        self._submit(self.served.model, self)

    def check(self) -> CheckedRequest:
        """Give the checked request with its sequence's states, or raise ServeError."""
        return self.step.with_states(self._pending.check())

    def answer(self, outputs: Mapping[str, Array]) -> None:
        """Keep the states, and answer; where the outputs are more than may be held, the sequence stays as it was."""
        try:
            self.call.make_room(sum([array.nbytes for array in outputs.values()]) + _MOST_BESIDE)
            asked = self.step.finish(outputs)
        except ServeError as error:
            self.refuse(after_run(error))
        else:
            self._pending.answer(asked)

    def answer_encoded(self, response: bytes, states: tuple[bytes, ...]) -> None:
        """Keep the states, and answer with the bytes of a response; the same where they are too many."""
        try:
            self.call.make_room(len(response))
            self.step.keep(states, self.rows)
        except ServeError as error:
            self.refuse(after_run(error))
        else:
            self.call.answer(response)

    def refuse(self, error: ServeError) -> None:
        """Leave the sequence as it was, and answer with an error."""
        try:
            self._pending.refuse(error)
        finally:
            self.step.fail()
