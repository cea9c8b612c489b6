"""Admission: from a request that has arrived to one that waits for its run.

The fast path recognizes it by its template, or validates it. A large request is parsed and checked on a
thread of its own, one after another, and run on its model's thread.
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
"""Bytes of a response beside those of its tensors, at the most: names, shapes and parameters."""

_WAITING, _WAITING_OF_CONNECTION = 256, 64
"""Large or compressed requests that wait to be parsed, of all connections and of one. The bytes that calls may hold
bound them, too, except for compressed ones, which take up to 50 ms each. Beyond it: RESOURCE_EXHAUSTED at once."""

TakeStep = Callable[[Model, "StepCall"], None]
"""Takes a request of a sequence whose turn comes after its admission."""


class PendingCall(PendingRequest):
    """A call that waits: parsed, or recognised by its prefix. Then its values are checked when it is run."""

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
        # Without `super().__init__`, which costs half a microsecond, as this does once a request.
        self.rows = rows
        self.steps = steps
        self.deadline = call.deadline
        self.arrived = arrived
        self.timeout = math.inf
        self.call = call
        self.served = served  # the version that it asks
        self.prefix = prefix  # None if it was parsed
        self.id_field = id_field  # tag and size included, if the prefix was recognised; else empty
        self.source = source  # the checked request; or the service, which checks it if the prefix was recognised

    @property
    def connection(self) -> str:
        """Names its connection."""
        return self.call.peer()

    def watch(self) -> None:
        """Note a cancellation as soon as it comes. It costs two events a request, so it is for those that wait long."""
        self.call.watch(self.cancel)

    def check(self) -> CheckedRequest:
        """Return the checked request. A recognized one is validated if its values aren't plainly valid."""
        if isinstance(self.source, CheckedRequest):
            return self.source
        payload = self.call.payload
        checked = None if self.prefix is None else self.prefix.read(payload)
        return self.source.check(payload, self.served) if checked is None else checked

    def answer(self, outputs: Mapping[str, Array]) -> None:
        """Answer with the outputs asked for."""
        if self.prefix is not None:
            self.call.answer(self.prefix.head.encode(self.id_field, outputs.values()))
        else:
            self.call.answer(encode_response(self.served.model, self.check(), outputs))

    def refuse(self, error: ServeError) -> None:
        """Answer with an error."""
        self.call.refuse(error.of(self.served.model.statistics.counts).of_request(self.rows, self.arrived))

    def origin(self) -> Origin:
        """Say where it comes from, before it is answered."""
        return self.call.origin()


class StepCall(PendingCall):
    """A call of a sequence, in place of the call without. It refers to its step, and its step not to it: no cycle."""

    __slots__ = ("_pending", "_submit", "step")

    step: Step  # from `enter` on

    def __init__(self, call: PendingCall, prefix: RequestPrefix | None, submit: TakeStep) -> None:
        """Take a call, with the prefix of requests of sequences that it has, if any."""
        served = call.served.of_sequences
        super().__init__(call.call, served, call.rows, call.steps, call.arrived, call.source, prefix, call.id_field)
        self.deadline, self.timeout = call.deadline, call.timeout
        self._pending = call
        self._submit = submit

    def enter(self, sequences: Sequences, control: SequenceControl) -> Self | None:
        """Enter its sequence as `Sequences.enter` does, and return the call if it has its turn."""
        self.step = Step(sequences, self._pending.served, control)
        return self if sequences.enter(self.step, self.call, self) else None

    def take_turn(self) -> None:
        """Be submitted, now that the requests before it have been answered."""
        self._submit(self.served.model, self)

    def check(self) -> CheckedRequest:
        """Return the checked request with its sequence's states."""
        return self.step.with_states(self._pending.check())

    def refuse(self, error: ServeError) -> None:
        """Leave the sequence as it was, and answer with an error."""
        try:
            self._pending.refuse(error)
        finally:
            self.step.fail()

    def answer(self, outputs: Mapping[str, Array] | tuple[bytes, tuple[bytes, ...]]) -> None:
        """Keep the states, and answer with a run's outputs, or its bytes; without room for them, refuse."""
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
    """Make a checked request wait. None if it is of a sequence, and its turn comes later."""
    parsed = PendingCall(call, served, checked.batch, checked.steps, arrived, checked)
    parsed.deadline, parsed.timeout = earlier(call.deadline, arrived, checked.timeout)
    if checked.sequence is None:
        return parsed
    try:
        return StepCall(parsed, None, take_step).enter(service.sequences, checked.sequence)
    except ServeError as error:
        raise error.of(served.model.statistics.counts)  # noqa: B904 - the same error


class Admission:
    """Admits calls, and keeps the prefixes of those that passed request validation. For one thread, the fast path's."""

    def __init__(self, service: Service, take_large: Callable[[ArrivedRequest], None], take_step: TakeStep) -> None:
        """Start without any prefix; `take_large` takes calls that are large once they are decompressed."""
        self._service = service
        self._take_large = take_large
        self._take_step = take_step
        self._prefixes = PrefixCache(allow_non_finite=service.settings.allow_non_finite)
        self._generation = service.repository.generation
        self._asks_for_tokens = service.settings.access_file is not None

    def models_have_changed(self) -> bool:
        """Drop the prefixes if what serves has changed since the last call, and return whether it has."""
        generation = self._service.repository.generation
        if generation == self._generation:
            return False
        self._generation = generation
        self._prefixes.clear()
        return True

    def models(self) -> set[Model]:
        """The models that serve."""
        return {model for served in self._service.repository.served() for model in served.models}

    def shared_prefix(self, calls: Iterable[ArrivedRequest]) -> RequestPrefix | None:
        """The prefix of all of these. None if they have several, or one that is not known, or varying fields."""
        prefix = self._prefixes.shared(calls)
        if prefix is not None and self._asks_for_tokens:
            for call in calls:
                grant = call.grant
                if grant is not None and not grant.is_for_all and not grant.is_for(prefix.served.model.name):
                    return None  # those that are for it are admitted one by one
        return prefix

    def admit(self, calls: Iterable[ArrivedRequest], arrived: float) -> list[PendingCall]:
        """Admit calls that arrived together, or refuse them; large ones, and steps without a turn, come later."""
        admitted: list[PendingCall] = []
        for call in calls:
            try:
                pending = self._admit(call, arrived)
                if pending is not None:
                    admitted.append(pending)
            except ServeError as error:
                call.refuse(error)
            except Exception as error:  # noqa: BLE001 - one request's defect must not cost the others' answers
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
                recognised.check()  # a wrong request must not begin a sequence in the place of another
            step = StepCall(recognised, prefix.of_sequences, self._take_step)
            try:
                return step.enter(service.sequences, sequence)
            except BeganOnAnotherVersion:
                pass  # parsing says which version the request asks for
            except ServeError as error:
                recognised.check()  # a mistake in the request itself is reported first
                raise error.of(served.model.statistics.counts)  # noqa: B904 - the same error
        served, checked = service.accept(call.payload, call)
        if found is None:
            self._prefixes.add(call.payload, served, checked)
        return pending_of(call, served, checked, arrived, service, self._take_step)


class LargeRequests:
    """The thread that takes calls from the fast path: large ones, and compressed ones that become large."""

    def __init__(self, service: Service, submit: Callable[[Model, PendingCall], None]) -> None:
        """Begin; `submit` takes the requests that it has admitted."""
        self._service = service
        self._submit = submit
        self._waiting: deque[tuple[ArrivedRequest, float]] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._loop, name="large requests", daemon=True)
        self._thread.start()

    def submit(self, call: ArrivedRequest) -> None:
        """Take a call that has just arrived, to be answered from another thread. Raise TooManyCalls if many wait."""
        connection = call.peer()
        with self._changed:
            if len(self._waiting) >= _WAITING:
                raise TooManyCalls("large requests", _WAITING)
            if sum([waiting.peer() == connection for waiting, _ in self._waiting]) >= _WAITING_OF_CONNECTION:
                raise TooManyCalls("large requests of this connection", _WAITING_OF_CONNECTION)
            self._waiting.append((call, now()))
            self._changed.notify()

    def close(self, timeout: float | None = None) -> bool:
        """Take what waits, and end the thread within `timeout` seconds. Return whether it has ended."""
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
            except Exception as error:  # noqa: BLE001 - one request's defect must not cost the others' answers
                call.refuse(InternalError.hiding(error))
            del call  # it may hold 16 MB until the next one comes

    def _admit(self, call: ArrivedRequest, arrived: float) -> None:
        if call.deadline < now():
            raise DeadlinePassed("the deadline passed before the request was read")
        payload = call.payload
        if is_compressed(payload):
            payload = decompress(payload, self._service.settings.max_message_bytes)
            call.hold(len(payload))
        served, checked = self._service.accept(payload, call)
        call.payload, payload = payload[:HEAD_BYTES], b""  # its id is needed; the checked request has the other bytes
        pending = pending_of(call, served, checked, arrived, self._service, self._submit)
        if pending is not None:
            self._submit(pending.served.model, pending)
