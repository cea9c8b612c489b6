"""Sequences: the states that the server keeps between the requests of one sequence.

A sequence is known by its model and its id. It begins with a request that says `sequence_start`, with zeros or with the
states that this request brings; each further request continues from the states that the one before it left; it is
dropped after the request that says `sequence_end`, or after it has been idle for long. It stays with the version of the
model on which it began. States are paired by the names that the model was published with.

Requests of one sequence are run one after another, in the order in which they arrived; requests of many sequences share
runs. A request that is refused leaves its sequence as it was.
"""

import dataclasses
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping

import numpy as np

from rnnserve.server.batching.clock import now
from rnnserve.server.boundary.checked_request import Array, CheckedRequest
from rnnserve.server.boundary.sequence_parameters import SequenceControl
from rnnserve.server.errors import (
    InvalidRequest,
    NotFound,
    QueueFull,
    SequenceInUse,
    ServeError,
    TooManySequences,
    Unsupported,
    quoted,
)
from rnnserve.server.repository.model import Model
from rnnserve.server.repository.repository import ServedVersion
from rnnserve.server.settings import Settings

__all__ = ["Sequences", "Step", "StreamOwner"]

_REMEMBERED = 4096
"""How many ids of sequences are remembered that were dropped for being idle, to tell their clients so."""

_LOOK_SECONDS = (0.05, 1.0)
"""Seconds between two looks for sequences that have been idle for too long, at least and at most."""

_Key = tuple[str, int | str]


class StreamOwner:
    """A stream that sequences are sent on. While it is open, no other call may continue them.

    Attributes:
        is_open: Whether it still is.
    """

    __slots__ = ("is_open",)

    def __init__(self) -> None:
        self.is_open = True


class _Sequence:
    """What is kept of a sequence.

    Attributes:
        key: Its model's name and its id.
        served: The version that it began on.
        connection: Names the connection that it began on.
        owner: The stream that its last request came on; None for a request without a stream.
        states: The bytes of each state in the signature's order, in row-major order of its own shape; empty before its
            first request has been run.
        rows: Size of their batch axis.
        nbytes: Bytes of the states.
        used: When its last request arrived or was answered, in seconds on the clock of `batching.clock`.
        is_over: Whether it has ended, or its first request was refused: what has arrived for it since is refused.
        current: Its request that waits to be run, or is run; None where none is in hand.
        waiting: Requests that have arrived after that one.
    """

    __slots__ = (
        "connection",
        "current",
        "is_over",
        "key",
        "nbytes",
        "owner",
        "rows",
        "served",
        "states",
        "used",
        "waiting",
    )

    def __init__(self, key: _Key, served: ServedVersion, connection: str) -> None:
        self.key = key
        self.served = served
        self.connection = connection
        self.owner: StreamOwner | None = None
        self.states: tuple[bytes, ...] = ()
        self.rows = 0
        self.nbytes = 0
        self.used = 0.0
        self.is_over = False
        self.current: Step | None = None
        self.waiting: deque[Step] = deque()

    def __str__(self) -> str:
        model, identity = self.key
        return _said(model, identity)


@dataclasses.dataclass(slots=True)
class _Share:
    """What one connection has of the sequences: how many, and bytes of their states."""

    count: int = 0
    nbytes: int = 0


class Step:
    """A request of a sequence, from its arrival to its answer.

    Attributes:
        served: The version that its sequence began on.
    """

    __slots__ = ("_asked", "_control", "_is_over", "_rows", "_sequence", "_sequences", "_submit", "served")

    def __init__(self, sequences: "Sequences", sequence: _Sequence, control: SequenceControl) -> None:
        self._sequences = sequences
        self._sequence = sequence
        self._control = control
        self._asked: tuple[str, ...] = ()
        self._rows = 0
        self._submit: Callable[[ServeError | None], None] = _lost
        self._is_over = False
        self.served = sequence.served

    def line_up(self, submit: Callable[[ServeError | None], None]) -> bool:
        """Line up behind the earlier requests of the sequence; return whether there are none, so that it may be run.

        Args:
            submit: Called once where there are some: with None when its turn has come, or with the reason why it has to
                be refused. On the thread that answers the request before it.

        Raises:
            QueueFull: If too many requests wait for their turn.
        """
        self._submit = submit
        try:
            return self._sequences.line_up(self._sequence, self)
        except QueueFull:
            self._is_over = True  # it has no part in its sequence
            raise

    def submit(self, error: ServeError | None) -> None:
        """Submit a request that has waited for its turn, or have it refused."""
        self._is_over = error is not None
        self._submit(error)

    def states(self, rows: int) -> tuple[bytes, ...] | None:
        """The bytes of each state that a request of so many rows continues from; None where it does not continue.

        Empty for the first request: its states are zeros, or those that it brings.
        """
        if self._control.starts:
            return ()
        return self._sequence.states if self._sequence.rows == rows else None

    def with_states(self, request: CheckedRequest) -> CheckedRequest:
        """Give the request with the states that it continues from, asking for those that it leaves.

        Raises:
            InvalidRequest: If it brings states in mid-sequence, or has another number of rows than the sequence.
        """
        sequence, signature = self._sequence, self.served.model.signature
        inputs = request.inputs
        if not self._control.starts:
            brought = [name for name in signature.states if name in inputs]
            if brought:
                raise InvalidRequest(
                    f'input "{brought[0]}": {sequence} has its states from the request before; only its first request, '
                    "with sequence_start, may bring some"
                )
            if sequence.rows != request.batch:
                raise InvalidRequest(
                    f"{sequence} has {sequence.rows} rows (the batch axis), as its first request; this one has "
                    f"{request.batch}"
                )
            specs = [signature.inputs[name] for name in signature.states]
            inputs = {
                **inputs,
                **{
                    spec.name: np.ndarray(spec.shape(sequence.rows, {}), spec.dtype, state)
                    for spec, state in zip(specs, sequence.states, strict=True)
                },
            }
        self._asked = request.outputs
        self._rows = request.batch
        more = [final.name for final in signature.states.values() if final.name not in request.outputs]
        return dataclasses.replace(request, inputs=inputs, outputs=(*request.outputs, *more))

    def finish(self, outputs: Mapping[str, Array]) -> dict[str, Array]:
        """Keep the states, and let the next request of the sequence be run.

        Args:
            outputs: Of the run, by name: those asked for, and the final states.

        Returns:
            Those asked for, in the order asked.

        Raises:
            TooManySequences: If there is no memory left for them.
        """
        states = [outputs[final.name].tobytes() for final in self.served.model.signature.states.values()]
        self.keep(tuple(states), self._rows)
        return {name: outputs[name] for name in self._asked}

    def keep(self, states: tuple[bytes, ...], rows: int) -> None:
        """Keep the states, and let the next request of the sequence be run.

        Args:
            states: The bytes of each, in row-major order of its own shape.
            rows: Size of their batch axis.

        Raises:
            TooManySequences: If there is no memory left for them.
        """
        if self._control.ends:
            self._sequences.end(self._sequence)
        else:
            self._sequences.keep(self._sequence, states, rows)
        self._is_over = True
        self._sequences.next_after(self._sequence)

    def fail(self) -> None:
        """Leave the sequence as it was, and let its next request be run."""
        if not self._is_over:
            self._is_over = True
            if self._control.starts:
                self._sequences.end(self._sequence)
            self._sequences.next_after(self._sequence)


class Sequences:
    """All sequences of a server: a bounded number, of a bounded number of bytes. Any thread may use it."""

    def __init__(self, settings: Settings) -> None:
        """Start without any.

        Args:
            settings: How many there may be, of how many bytes, and how long they may be idle.
        """
        self._settings = settings
        self._lock = threading.Lock()
        self._sequences: OrderedDict[_Key, _Sequence] = OrderedDict()  # the one used longest ago first
        self._shares: dict[str, _Share] = {}  # by connection
        self._dropped: OrderedDict[_Key, None] = OrderedDict()
        self._waiting = 0
        self._is_watched = False
        self._never = threading.Event()
        self._nbytes = 0

    def find(self, model: str, control: SequenceControl) -> ServedVersion | None:
        """The version that a request's sequence began on; None where it begins one, or there is none."""
        if control.starts:
            return None
        sequence = self._sequences.get((model, control.id))
        return None if sequence is None else sequence.served

    def enter(
        self,
        served: ServedVersion,
        control: SequenceControl,
        connection: Callable[[], str],
        owner: StreamOwner | None = None,
    ) -> Step:
        """Take a request that has arrived into its sequence.

        Args:
            served: The version that it asks, and that it was checked for.
            control: What it says of its sequence.
            connection: Gives the name of its connection.
            owner: The stream that it came on.

        Raises:
            InvalidRequest: If it asks another version than the one that its sequence began on.
            NotFound: If its sequence has not been started, has ended, or was dropped.
            SequenceInUse: If its sequence is on another stream.
            TooManySequences: If it would start one sequence too many.
            Unsupported: If the model's sequences may not be cut into requests.
        """
        model = served.model
        if model.why_not_in_parts or model.signature.required_state:
            raise Unsupported(
                f'model "{model.name}" takes no sequences a part at a time: {_why_not_in_parts(model)}; send each '
                "sequence whole, in one request without sequence_id"
            )
        key = (model.name, control.id)
        at = now()
        with self._lock:
            sequence = self._sequences.get(key)
            if control.starts or (sequence is not None and sequence.used < at - self._settings.sequence_idle):
                self._drop_idle(at)
                sequence = self._sequences.get(key)
            if sequence is not None and sequence.owner is not owner and _is_open(sequence.owner):
                raise SequenceInUse(
                    f"{sequence} is in use on another stream: ids are to be unique among all clients, such as a random "
                    "number of 63 bits"
                )
            if control.starts:
                sequence = self._start(key, served, connection(), sequence)
            elif sequence is None:
                raise NotFound(self._why_unknown(key))
            elif sequence.served is not served:
                raise InvalidRequest(
                    f"{sequence} began on version {sequence.served.model.version}; this request asks for version "
                    f"{model.version}"
                )
            sequence.owner = owner
            sequence.used = at
            self._sequences.move_to_end(key)
        return Step(self, sequence, control)

    def line_up(self, sequence: _Sequence, step: Step) -> bool:
        """Put a request behind the earlier ones of its sequence; return whether there are none.

        Raises:
            QueueFull: If too many requests wait for their turn.
        """
        with self._lock:
            if sequence.current is None:
                sequence.current = step
                return True
            if self._waiting >= self._settings.max_queue:
                raise QueueFull(str(sequence), self._settings.max_queue)
            self._waiting += 1
            sequence.waiting.append(step)
            return False

    def keep(self, sequence: _Sequence, states: tuple[bytes, ...], rows: int) -> None:
        """Keep the states that a request has left, of so many rows.

        Raises:
            TooManySequences: If there is no memory left for them.
        """
        nbytes = sum(map(len, states))
        with self._lock:
            if self._sequences.get(sequence.key) is sequence:
                if nbytes > sequence.nbytes:
                    self._take(sequence, nbytes)
                sequence.used = now()
            sequence.states = states
            sequence.rows = rows

    def end(self, sequence: _Sequence) -> None:
        """Drop a sequence: its last request was answered, or its first one refused."""
        with self._lock:
            sequence.is_over = True
            if self._sequences.get(sequence.key) is sequence:
                self._remove(sequence)

    def next_after(self, sequence: _Sequence) -> None:
        """Submit the request after the one that has been answered; refuse all that are there where it is over."""
        with self._lock:
            if not sequence.waiting:
                sequence.current = None
                return
            error = NotFound(self._why_unknown(sequence.key)) if sequence.is_over else None
            count = len(sequence.waiting) if error else 1
            following = [sequence.waiting.popleft() for _ in range(count)]
            self._waiting -= count
            sequence.current = None if error else following[0]
        for step in following:
            step.submit(error)

    def _start(self, key: _Key, served: ServedVersion, connection: str, before: _Sequence | None) -> _Sequence:
        """Make a sequence, in the place of one of this id that was in the middle."""
        limit, most = self._settings.max_sequences, (self._settings.max_sequences + 1) // 2
        if len(self._sequences) - (before is not None) >= limit:
            raise TooManySequences.of_all(limit)
        is_own = before is not None and before.connection == connection
        if self._shares.get(connection, _Share()).count - is_own >= most:
            raise TooManySequences.of_connection(most)
        if before is not None:
            self._remove(before)
        share = self._shares.get(connection, _Share())
        share.count += 1
        self._shares[connection] = share
        self._dropped.pop(key, None)
        sequence = self._sequences[key] = _Sequence(key, served, connection)
        if not self._is_watched:
            self._is_watched = True
            threading.Thread(target=self._watch, name="idle sequences", daemon=True).start()
        return sequence

    def _remove(self, sequence: _Sequence) -> None:
        del self._sequences[sequence.key]
        share = self._shares[sequence.connection]
        self._nbytes -= sequence.nbytes
        share.nbytes -= sequence.nbytes
        share.count -= 1
        sequence.nbytes = 0
        if not share.count:
            del self._shares[sequence.connection]

    def _take(self, sequence: _Sequence, nbytes: int) -> None:
        share, most = self._shares[sequence.connection], self._settings.max_sequence_bytes
        more = nbytes - sequence.nbytes
        if self._nbytes + more > most or share.nbytes + more > most // 2:
            raise TooManySequences.of_bytes(most)
        self._nbytes += more
        share.nbytes += more
        sequence.nbytes = nbytes

    def _watch(self) -> None:
        """Drop the sequences that have been idle for too long, as long as there are any."""
        least, most = _LOOK_SECONDS
        while True:
            with self._lock:
                at = now()
                self._drop_idle(at)
                if not self._sequences:
                    self._is_watched = False
                    return
                oldest = next(iter(self._sequences.values())).used
            self._never.wait(min(max(oldest + self._settings.sequence_idle - at, least), most))

    def _drop_idle(self, at: float) -> None:
        oldest = at - self._settings.sequence_idle
        while self._sequences:
            sequence = next(iter(self._sequences.values()))
            if sequence.used >= oldest:
                return
            if sequence.current is not None:  # it waits to be run
                sequence.used = at
                self._sequences.move_to_end(sequence.key)
                continue
            self._remove(sequence)
            self._dropped[sequence.key] = None
            if len(self._dropped) > _REMEMBERED:
                self._dropped.popitem(last=False)

    def _why_unknown(self, key: _Key) -> str:
        if key in self._dropped:
            return (
                f"{_said(*key)} was dropped after {self._settings.sequence_idle:g} s without a request "
                "(--sequence-idle): start it again with sequence_start"
            )
        return (
            f"{_said(*key)} is not known: its first request has to say sequence_start, and no other since then "
            "sequence_end"
        )


def _said(model: str, identity: int | str) -> str:
    said = quoted(identity) if isinstance(identity, str) else str(identity)
    return f'sequence {said} of model "{model}"'


def _why_not_in_parts(model: Model) -> str:
    return model.why_not_in_parts or (
        f'its state "{model.signature.required_state}" may not be left out, so that none is known to start with'
    )


def _is_open(owner: StreamOwner | None) -> bool:
    return owner is not None and owner.is_open


def _lost(_: ServeError | None) -> None:
    raise AssertionError("the step was queued before it could be submitted")
