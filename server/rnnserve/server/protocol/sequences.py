"""Sequences: server-side states between the requests of a sequence.

A sequence is identified by its model and its id, within one connection or one `sequence_key`. It begins with a request
with `sequence_start`, and its initial states are zeros or the request's own. Each further request continues from the
states of the previous request. The server drops a sequence after the request with `sequence_end`, or after a long idle
time. A sequence stays on the version it began on. States are paired by the names the model was published with.

No connection can continue, end, replace or delay another connection's sequence by guessing its id, and two clients with
the same id don't collide. With several workers, only the worker of the first request's connection has the sequence.

Requests of one sequence take turns in order of arrival. Requests of different sequences share runs. After its response,
a request passes its turn on. A refused request doesn't change its sequence.

A request's step has no reference to the request, and a sequence refers only to pending requests, so a completed request
is freed at once. Python's garbage collector counts objects, not bytes: 140 steps of 14 MB in reference cycles stayed in
memory.
"""

import contextlib
import dataclasses
import threading
import weakref
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from rnnserve.protos.protocol_words import SESSION
from rnnserve.server.access.gate import Grant
from rnnserve.server.clock import now
from rnnserve.server.counting.places import EVICTED
from rnnserve.server.counting.table import count_in_process
from rnnserve.server.errors import (
    InternalError,
    InvalidRequest,
    NotFound,
    QueueFull,
    SequenceInUse,
    ServeError,
    TooManySequences,
    Unsupported,
    quoted,
)
from rnnserve.server.repository.repository import ServedVersion
from rnnserve.server.settings import Settings
from rnnserve.server.validation.checking import is_within_bounds, with_valid_values
from rnnserve.server.validation.signature import Array, CheckedRequest, SequenceControl, TensorSpec

__all__ = ["BeganOnAnotherVersion", "Caller", "Sequences", "Step", "StreamOwner", "Waiter"]

_OF_CONNECTION, _OF_ADDRESS = 1 / 4, 3 / 8
"""Share of all sequences, and of all their states' bytes, for one connection and for one address. Beyond it:
RESOURCE_EXHAUSTED, so that one client leaves room for the others."""

_PARTS = (
    (1.0, ""),
    (_OF_CONNECTION, ", a quarter of them of one connection"),
    (_OF_ADDRESS, ", three eighths of them of one address"),
)
"""The share for each scope of `_scopes`, and the words for it."""

_Key = tuple[str, str, int | str]
"""The connection of a sequence, or its `sequence_key`, its model's name, and its id."""


class BeganOnAnotherVersion(InvalidRequest):
    """The request names another version than its sequence began on."""


class StreamOwner:
    """A stream that sequences are sent on. While it is open, no other call may continue them."""

    __slots__ = ("__weakref__", "grant", "is_open")

    def __init__(self) -> None:
        self.is_open = True
        self.grant: Grant | None = None


class Caller(Protocol):
    """What sends a request."""

    @property
    def grant(self) -> Grant | None:
        """The rights of its token, or None if no token is required."""

    @property
    def stream(self) -> StreamOwner | None:
        """The stream of the request, or None for a unary call."""

    def peer(self) -> str:
        """Name its connection, as gRPC does: "ipv4:127.0.0.1:50000"."""


class Waiter(Protocol):
    """A request that waits for its turn. One method is called, once, on the thread that passes the turn on."""

    def take_turn(self) -> None:
        """Run the request, because its turn has come. A request that is refused at once passes its turn on first."""

    def refuse(self, error: ServeError, /) -> None:
        """Answer with an error: the sequence is over."""


@dataclasses.dataclass(slots=True, eq=False)
class _Sequence:
    """The server's record of a sequence."""

    key: _Key
    served: ServedVersion  # on which it began
    connection: str  # on which it began
    owner: "weakref.ref[StreamOwner] | None" = None  # the stream of its last request, while it exists
    states: tuple[bytes, ...] = ()  # in the signature's order, each row-major; empty before the first run
    rows: int = 0  # size of their batch axis
    nbytes: int = 0
    used: float = 0.0  # when its last request arrived or was answered, in seconds on the clock of `clock`
    is_over: bool = False  # it has ended or never began, so later requests are refused
    turn: "Step | None" = None  # the step that is pending or running
    is_passing: bool = False  # whether a thread is passing the turn on
    waiting: "deque[tuple[Step, Waiter]]" = dataclasses.field(default_factory=deque)

    def __str__(self) -> str:
        return _described(self.key)


class Sequences:
    """All sequences of a server: a bounded number, of a bounded number of bytes. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        """Start without sequences."""
        self._settings = settings
        self._lock = threading.Lock()
        self._kept: OrderedDict[_Key, _Sequence] = OrderedDict()  # the least recently used first
        self._counts: Counter[str] = Counter()  # of sequences, by scope
        self._nbytes: Counter[str] = Counter()  # of their states, by scope
        self._waiting: Counter[str] = Counter()  # requests that wait for their turn, by the model's name

    @property
    def count(self) -> int:
        """The number of sequences."""
        return len(self._kept)

    def find(self, model: str, control: SequenceControl, caller: Caller) -> ServedVersion | None:
        """Return the version a request's sequence began on. None for a new or unknown sequence."""
        if control.starts:
            return None
        sequence = self._kept.get(self._key(model, control, caller))
        return None if sequence is None else sequence.served

    def enter(self, step: "Step", caller: Caller, waiter: Waiter) -> bool:
        """Queue a request in its sequence, in order of arrival.

        Returns whether it is the request's turn, so that it can run now. If not, the thread that completes the previous
        request calls the waiter (the request) later. Raises BeganOnAnotherVersion, NotFound, QueueFull, SequenceInUse,
        TooManySequences, and Unsupported if the model takes no sequences a part at a time.
        """
        model, control, owner = step.served.model, step.control, caller.stream
        why_not = model.why_not_in_parts
        if not why_not and (state := model.signature.required_state):
            why_not = f'its state "{state}" is required, so the server has no initial value for it'
        if why_not:
            raise Unsupported(
                f'model "{model.name}" does not accept sequences in parts: {why_not}; send each sequence in one '
                "request, without sequence_id"
            )
        key = self._key(model.name, control, caller)
        at = now()
        with self._lock:
            sequence = self._kept.get(key)
            if control.starts or sequence is None or sequence.used < at - self._settings.sequence_idle:
                self._drop_idle(at)
                sequence = self._kept.get(key)
            before = None if sequence is None or sequence.owner is None else sequence.owner()
            if before is not owner and before is not None and before.is_open:
                raise SequenceInUse(
                    f"{sequence} is in use on another stream; every client needs its own ids, such as random numbers "
                    "of 63 bits"
                )
            if control.starts:
                sequence = self._start(key, step.asked_version, caller.peer())
            elif sequence is None:
                raise self._unknown(key)
            if sequence.served is not step.asked_version:
                raise BeganOnAnotherVersion(
                    f"{sequence} began on version {sequence.served.model.version}; this request names version "
                    f"{model.version}"
                )
            if before is not owner or sequence.owner is None:
                sequence.owner = None if owner is None else weakref.ref(owner)
            sequence.used = at
            self._kept.move_to_end(key)
            step.sequence = sequence
            if sequence.turn is None and not sequence.waiting:
                sequence.turn = step
                return True
            if self._waiting[model.name] >= self._settings.max_queue:
                raise QueueFull(f"{sequence}, with the model's other sequences", self._settings.max_queue)
            self._waiting[model.name] += 1
            sequence.waiting.append((step, waiter))
            return False

    def leave(self, step: "Step", states: tuple[bytes, ...] | None, rows: int = 0) -> None:
        """Keep a request's final states, and pass its turn on. States are None for a refused request.

        A step without a turn changes nothing, because a failure in a batch may also refuse completed requests. If the
        states don't fit into the memory limit, it raises TooManySequences, and the step keeps its turn.
        """
        sequence = step.sequence
        with self._lock:
            if sequence.turn is not step:
                return
            is_last = step.control.starts if states is None else step.control.ends
            if is_last:
                sequence.is_over = True
                if self._has(sequence):
                    self._remove(sequence)
            elif states is not None:
                if self._has(sequence):
                    self._take(sequence, sum(map(len, states)))
                    sequence.used = now()
                    self._kept.move_to_end(sequence.key)  # in the order of use, as `_drop_idle` needs them
                sequence.states, sequence.rows = states, rows
            sequence.turn = None
            if not sequence.waiting:
                return
        self._pass_turn(sequence)

    def drop_idle(self) -> None:
        """Drop sequences that were idle for too long. Call it about once a second."""
        with self._lock:
            self._drop_idle(now())

    def _key(self, model: str, control: SequenceControl, caller: Caller) -> _Key:
        if control.key:
            return f"key {control.key}", model, control.id  # no connection has such a name
        return caller.peer(), model, control.id

    def _has(self, sequence: _Sequence) -> bool:
        """Whether the sequence is still kept and not replaced by another."""
        return self._kept.get(sequence.key) is sequence

    def _start(self, key: _Key, served: ServedVersion, connection: str) -> _Sequence:
        """Begin a sequence, and replace an unfinished sequence with the same key."""
        before, scopes = self._kept.get(key), _scopes(connection)
        replaced = () if before is None else _scopes(before.connection)
        for scope, (part, words) in zip(scopes, _PARTS, strict=True):
            most = max(1, int(self._settings.max_sequences * part))
            if self._counts[scope] - (scope in replaced) >= most:
                raise TooManySequences(
                    f"there are already {most:,} open sequences{words} (--max-sequences); end some with sequence_end, "
                    "or try again later"
                )
        if before is not None:
            self._remove(before)
        self._counts.update(scopes)
        sequence = self._kept[key] = _Sequence(key, served, connection)
        return sequence

    def _take(self, sequence: _Sequence, nbytes: int) -> None:
        """Count the bytes of a sequence's new states instead of the old ones."""
        more, scopes = nbytes - sequence.nbytes, _scopes(sequence.connection)
        if not more:
            return
        for scope, (part, words) in zip(scopes, _PARTS, strict=True):
            most = max(1, int(self._settings.sequence_bytes * part))
            if more > 0 and self._nbytes[scope] + more > most:
                raise TooManySequences(
                    f"the states of sequences already take {most:,} bytes{words} (16 KiB for each of --max-sequences, "
                    "but at least 256 MiB); end some with sequence_end"
                )
        self._nbytes.update(dict.fromkeys(scopes, more))
        sequence.nbytes = nbytes

    def _remove(self, sequence: _Sequence) -> None:
        del self._kept[sequence.key]
        for scope in _scopes(sequence.connection):
            self._nbytes[scope] -= sequence.nbytes
            self._counts[scope] -= 1
            if not self._counts[scope]:
                del self._counts[scope], self._nbytes[scope]
        sequence.nbytes = 0

    def _drop_idle(self, at: float) -> None:
        while self._kept:
            sequence = next(iter(self._kept.values()))
            if sequence.used >= at - self._settings.sequence_idle:
                return
            if sequence.turn is not None or sequence.waiting:
                sequence.used = at
                self._kept.move_to_end(sequence.key)
                continue
            self._remove(sequence)
            count_in_process(EVICTED)

    def _unknown(self, key: _Key) -> NotFound:
        """Return the error for an unknown sequence. It doesn't reveal whether another connection uses this id."""
        words = (
            f"{_described(key)} is unknown: its first request must set sequence_start. A sequence ends with "
            f"sequence_end, or after {self._settings.sequence_idle:g} s without a request"
        )
        if self._settings.sharers > 1:
            words += (
                f". A sequence belongs to one of this server's {self._settings.sharers} workers, the one of the "
                "connection on which it began, and ends with it: send all of its requests on one stream or connection, "
                f"or keep its states in the client (parameter {SESSION}), which any worker can continue"
            )
        else:
            words += (
                ". Sequences belong to the connection that began them: to continue one on another, send the same "
                "sequence_key with all of its requests"
            )
        return NotFound(words)

    def _pass_turn(self, sequence: _Sequence) -> None:
        """Pass the turn to the longest-waiting request, or refuse all pending requests if the sequence is over.

        A refused request passes its turn on before `take_turn` returns. This loop continues instead of recursing,
        because 300 nested calls would exceed Python's limit.
        """
        with self._lock:
            if sequence.is_passing:
                return
            sequence.is_passing = True
        while (next_one := self._next(sequence)) is not None:
            step, waiter, error = next_one
            try:
                if error is None:
                    waiter.take_turn()
                else:
                    waiter.refuse(error)
            except Exception as defect:  # noqa: BLE001 - one request's defect must not hold up the others
                with contextlib.suppress(Exception):
                    waiter.refuse(InternalError.hiding(defect))
                step.fail()
            del next_one, step, waiter, error  # another thread may complete it now, so drop the references

    def _next(self, sequence: _Sequence) -> "tuple[Step, Waiter, ServeError | None] | None":
        """Take the next pending request and its error, if any. None without requests, or if the turn is taken."""
        with self._lock:
            if sequence.turn is not None or not sequence.waiting:
                sequence.is_passing = False
                return None
            step, waiter = sequence.waiting.popleft()
            self._waiting[sequence.key[1]] -= 1
            if sequence.is_over:
                return step, waiter, self._unknown(sequence.key)
            sequence.turn = step
            return step, waiter, None


class Step:
    """A request of a sequence. It was checked for `asked_version`, and runs on that version's graph of parts."""

    __slots__ = ("_asked", "_rows", "_sequences", "asked_version", "control", "sequence", "served")

    sequence: _Sequence

    def __init__(self, sequences: Sequences, asked_version: ServedVersion, control: SequenceControl) -> None:
        self._sequences = sequences
        self._asked: tuple[str, ...] = ()
        self._rows = 0
        self.asked_version = asked_version
        self.served = asked_version.of_sequences
        self.control = control

    def states(self, rows: int) -> tuple[bytes, ...] | None:
        """Return the states that a request of `rows` rows continues from: () at first, None if they don't fit."""
        if self.control.starts:
            return ()
        states = self.sequence.states
        for at, spec in self.served.model.signature.bounded_states:
            if not is_within_bounds(states[at], spec):
                return None
        return states if self.sequence.rows == rows else None

    def with_states(self, request: CheckedRequest) -> CheckedRequest:
        """Add the states to continue from to the request, and request final ones, or raise InvalidRequest."""
        sequence, signature = self.sequence, self.served.model.signature
        inputs = request.inputs
        if not self.control.starts:
            brought = [name for name in signature.states if name in inputs]
            if brought:
                raise InvalidRequest(
                    f'input "{brought[0]}": {sequence} takes its states from its previous request; only the first '
                    "request, with sequence_start, can send states"
                )
            if sequence.rows != request.batch:
                raise InvalidRequest(
                    f"{sequence} has {sequence.rows} rows (the batch axis) since its first request, but this request "
                    f"has {request.batch}"
                )
            states = zip(signature.states, sequence.states, strict=True)
            inputs = {**inputs, **{name: self._continued(signature.inputs[name], state) for name, state in states}}
        self._asked = request.outputs
        self._rows = request.batch
        more = [final.name for final in signature.states.values() if final.name not in request.outputs]
        return dataclasses.replace(request, inputs=inputs, outputs=(*request.outputs, *more))

    def _continued(self, spec: TensorSpec, state: bytes) -> Array:
        array: Array = np.ndarray(spec.shape(self.sequence.rows, {}), spec.dtype, state)
        if spec.bounds is None:
            return array
        try:
            return with_valid_values(array, spec, {}, allow_non_finite=False)
        except InvalidRequest as error:
            raise InvalidRequest(
                f"{self.sequence} has a state whose value is outside the model's range: {error}"
            ) from error

    def finish(self, outputs: Mapping[str, Array]) -> dict[str, Array]:
        """Keep a run's states, pass the turn on, and return the requested outputs. Raises TooManySequences."""
        states = [outputs[final.name].tobytes() for final in self.served.model.signature.states.values()]
        self.keep(tuple(states), self._rows)
        return {name: outputs[name] for name in self._asked}

    def keep(self, states: tuple[bytes, ...], rows: int) -> None:
        """Keep the bytes of each state, in row-major order, and pass the turn on. Raises TooManySequences."""
        self._sequences.leave(self, states, rows)

    def fail(self) -> None:
        """Pass the turn on without changing the sequence. After a failed first request, the sequence ends."""
        self._sequences.leave(self, None)


def _scopes(connection: str) -> tuple[str, str, str]:
    """The scopes in which a connection's sequences count: all, its connection, and its address."""
    return "all", connection, connection.rpartition(":")[0]


def _described(key: _Key) -> str:
    _, model, identity = key
    return f'sequence {quoted(identity) if isinstance(identity, str) else identity} of model "{model}"'
