"""Admission: turns an arrived request into a pending request.

The fast path recognizes the request by its template, or parses and validates it. Large requests are parsed and checked
one after another on a separate thread, and run on their model's thread.
"""

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Self

from rnnserve.server.batching.execution import PendingRequest, earlier
from rnnserve.server.clock import now
from rnnserve.server.connections.byte_budget import LARGE
from rnnserve.server.counting.table import after_run
from rnnserve.server.errors import DeadlinePassed, InternalError, ServeError, TooManyCalls
from rnnserve.server.fast_path.calls import ArrivedRequest
from rnnserve.server.fast_path.templates import HEAD_BYTES, PrefixCache, RequestPrefix
from rnnserve.server.observing.origins import Origin
from rnnserve.server.protocol.responses import encode_response
from rnnserve.server.protocol.sequences import BeganOnAnotherVersion, Sequences, Step
from rnnserve.server.protocol.service import Service
from rnnserve.server.repository.model import Model
from rnnserve.server.repository.repository import ServedVersion
from rnnserve.server.validation.checked_request import Array, CheckedRequest, SequenceControl
from rnnserve.server.validation.parsing import decompress, decompress_small, is_compressed

__all__ = ["Admission", "LargeRequests", "PendingCall", "StepCall", "pending_of"]

_MOST_BESIDE = 4096
"""Maximum bytes of a response in addition to its tensors: names, shapes and parameters."""

_WAITING, _WAITING_OF_CONNECTION = 256, 64
"""Large or compressed requests that wait to be parsed, in total and per connection. The byte budget also limits them,
except for compressed requests, which take up to 50 ms each. Beyond it: RESOURCE_EXHAUSTED at once."""

TakeStep = Callable[[Model, "StepCall"], None]
"""Takes a sequence request when its turn comes after its admission."""


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


class Admission:
    """Admits calls and caches the templates of validated requests. Only for the fast path's thread."""

    def __init__(self, service: Service, take_large: Callable[[ArrivedRequest], None], take_step: TakeStep) -> None:
        """Start without templates. `take_large` takes calls that become large by decompression."""
        self._service = service
        self._take_large = take_large
        self._take_step = take_step
        self._prefixes = PrefixCache(allow_non_finite=service.settings.allow_non_finite)
        self._generation = service.repository.generation
        self._asks_for_tokens = service.settings.access_file is not None

    def models_have_changed(self) -> bool:
        """Clear the templates if the served models have changed since the last call. Return whether they have."""
        generation = self._service.repository.generation
        if generation == self._generation:
            return False
        self._generation = generation
        self._prefixes.clear()
        return True

    def models(self) -> set[Model]:
        """Return all served models."""
        return {model for served in self._service.repository.served() for model in served.models}

    def shared_prefix(self, calls: Iterable[ArrivedRequest]) -> RequestPrefix | None:
        """Return the calls' common template, or None if there is none or a call has varying fields."""
        prefix = self._prefixes.shared(calls)
        if prefix is not None and self._asks_for_tokens:
            for call in calls:
                grant = call.grant
                if grant is not None and not grant.is_for_all and not grant.is_for(prefix.served.model.name):
                    return None  # each call is then admitted separately
        return prefix

    def admit(self, calls: Iterable[ArrivedRequest], arrived: float) -> list[PendingCall]:
        """Admit or refuse calls that arrived together. Large calls, and steps before their turn, are admitted later."""
        admitted: list[PendingCall] = []
        for call in calls:
            try:
                pending = self._admit(call, arrived)
                if pending is not None:
                    admitted.append(pending)
            except ServeError as error:
                call.refuse(error)
            except Exception as error:  # noqa: BLE001 - a defect with one request must not affect the others
                call.refuse(InternalError.hiding(error))
        return admitted

    def _admit(self, call: ArrivedRequest, arrived: float) -> PendingCall | None:
        service = self._service
        found = self._prefixes.recognise(call.payload)
        if found is None and is_compressed(call.payload):
            payload = decompress_small(call.payload, LARGE)
            if payload is None:
                self._take_large(call)
                return None
            call.payload = payload
            found = self._prefixes.recognise(payload)
        if found is not None:
            prefix, id_field, sequence = found
            served = prefix.served
            if call.grant is not None and not call.grant.is_for_all:
                call.grant.check_model(served.model.name)
            recognised = PendingCall(call, served, prefix.batch, prefix.steps, arrived, service, prefix, id_field)
            if sequence is None:
                return recognised
            if sequence.starts:
                recognised.check()  # an invalid request must not replace an existing sequence
            step = StepCall(recognised, prefix.of_sequences, self._take_step)
            try:
                return step.enter(service.sequences, sequence)
            except BeganOnAnotherVersion:
                pass  # the parser finds out which version is requested
            except ServeError as error:
                recognised.check()  # errors in the request itself take precedence
                raise error.of(served.model.statistics.counts)  # noqa: B904 - the same error
        served, checked = service.accept(call.payload, call)
        if found is None:
            self._prefixes.add(call.payload, served, checked)
        return pending_of(call, served, checked, arrived, service, self._take_step)


class LargeRequests:
    """The thread for large calls, including compressed calls that become large."""

    def __init__(self, service: Service, submit: Callable[[Model, PendingCall], None]) -> None:
        """Start the thread. `submit` takes the admitted requests."""
        self._service = service
        self._submit = submit
        self._waiting: deque[tuple[ArrivedRequest, float]] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._loop, name="large requests", daemon=True)
        self._thread.start()

    def submit(self, call: ArrivedRequest) -> None:
        """Queue an arrived call, to be answered from another thread. Raise TooManyCalls if too many are queued."""
        connection = call.peer()
        with self._changed:
            if len(self._waiting) >= _WAITING:
                raise TooManyCalls("large requests", _WAITING)
            if sum([waiting.peer() == connection for waiting, _ in self._waiting]) >= _WAITING_OF_CONNECTION:
                raise TooManyCalls("large requests of this connection", _WAITING_OF_CONNECTION)
            self._waiting.append((call, now()))
            self._changed.notify()

    def close(self, timeout: float | None = None) -> bool:
        """Process the queued calls, and end the thread within `timeout` seconds. Return whether it has ended."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _loop(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_closed)
                if not self._waiting:
                    return
                call, arrived = self._waiting.popleft()
            try:
                self._admit(call, arrived)
            except ServeError as error:
                call.refuse(error)
            except Exception as error:  # noqa: BLE001 - a defect with one request must not affect the others
                call.refuse(InternalError.hiding(error))
            del call  # it may hold 16 MB until the next call arrives

    def _admit(self, call: ArrivedRequest, arrived: float) -> None:
        if call.deadline < now():
            raise DeadlinePassed("the deadline passed before the request was read")
        payload = call.payload
        if is_compressed(payload):
            payload = decompress(payload, self._service.settings.max_message_bytes)
            call.hold(len(payload))
        served, checked = self._service.accept(payload, call)
        call.payload, payload = payload[:HEAD_BYTES], b""  # only its id is still needed
        pending = pending_of(call, served, checked, arrived, self._service, self._submit)
        if pending is not None:
            self._submit(pending.served.model, pending)
