"""The turns of a sequence's requests: one after another, in the order in which they arrived.

A request that has its turn passes it on when it has been answered or refused, whatever refuses it. Nothing here refers
to a request's bytes once it has had its turn, and a request's step refers to nothing of the request: so an answered
request is freed at once. Python's collector counts objects and not bytes: 140 steps of 14 MB that referred to
themselves stayed in memory (docs/lab/findings.md, "Requests without cycles").
"""

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from rnnserve.server.boundary.checked_request import Array, CheckedRequest, SequenceControl
from rnnserve.server.boundary.signature import TensorSpec
from rnnserve.server.boundary.values import is_within_bounds, with_valid_values
from rnnserve.server.errors import InternalError, InvalidRequest, QueueFull, ServeError
from rnnserve.server.protocol.sequence_store import KeptSequence, SequenceStore

__all__ = ["Step", "Waiter", "pass_turn"]


class Waiter(Protocol):
    """A request that waits for its turn. One of the two is called once, on the thread that passes the turn on."""

    def take_turn(self) -> None:
        """Have the request run: its turn has come. Where it is refused at once, the turn is passed on before."""

    def refuse(self, error: ServeError, /) -> None:
        """Answer with an error: the sequence is over."""


class Step:
    """A request of a sequence, from its arrival to its answer.

    Attributes:
        served: The version that its sequence began on, as it runs parts of sequences.
    """

    __slots__ = ("_asked", "_control", "_has_turn", "_is_over", "_rows", "_sequence", "_store", "served")

    def __init__(self, store: SequenceStore, sequence: KeptSequence, control: SequenceControl) -> None:
        self._store = store
        self._sequence = sequence
        self._control = control
        self._asked: tuple[str, ...] = ()
        self._rows = 0
        self._has_turn = False
        self._is_over = False
        self.served = sequence.served.of_sequences

    def line_up(self, waiter: Waiter) -> bool:
        """Line up behind the earlier requests of the sequence; return whether there are none, so that it may be run.

        Args:
            waiter: The function that is told when the turn has come, where there are some.

        Raises:
            NotFound: If the sequence has ended since the request arrived.
            QueueFull: If too many requests of the model's sequences wait for their turn.
        """
        store, sequence = self._store, self._sequence
        with store.lock:
            if not sequence.has_turn and not sequence.is_over:
                sequence.has_turn = self._has_turn = True
                return True
            if sequence.is_over and not sequence.has_turn:
                self._is_over = True
                raise store.unknown(sequence.key)
            model = sequence.key[1]
            waiting = store.waiting.get(model, 0)
            if waiting >= store.max_waiting:
                self._is_over = True  # it has no part in its sequence
                raise QueueFull(f"{sequence}, with the model's other sequences", store.max_waiting)
            store.waiting[model] = waiting + 1
            sequence.waiting.append((self, waiter))
            return False

    def states(self, rows: int) -> tuple[bytes, ...] | None:
        """The bytes of each state that a request of so many rows continues from.

        None where it does not continue, or a state has run out of what the model takes: `with_states` says so.
        Empty for the first request: its states are zeros, or those that it brings.
        """
        if self._control.starts:
            return ()
        states = self._sequence.states
        for at, spec in self.served.model.signature.bounded_states:
            if not is_within_bounds(states[at], spec):
                return None
        return states if self._sequence.rows == rows else None

    def with_states(self, request: CheckedRequest) -> CheckedRequest:
        """Give the request with the states that it continues from, asking for those that it leaves.

        Raises:
            InvalidRequest: If it brings states in mid-sequence, has another number of rows than the sequence, or a
                state has a value that the model does not take: a position at its end.
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
                **{spec.name: self._continued(spec, state) for spec, state in zip(specs, sequence.states, strict=True)},
            }
        self._asked = request.outputs
        self._rows = request.batch
        more = [final.name for final in signature.states.values() if final.name not in request.outputs]
        return dataclasses.replace(request, inputs=inputs, outputs=(*request.outputs, *more))

    def _continued(self, spec: TensorSpec, state: bytes) -> Array:
        array: Array = np.ndarray(spec.shape(self._sequence.rows, {}), spec.dtype, state)
        if spec.bounds is None:
            return array
        try:
            return with_valid_values(array, spec, {}, allow_non_finite=False)
        except InvalidRequest as error:
            raise InvalidRequest(
                f"{self._sequence} has run out of the values of a state that the model takes: {error}"
            ) from error

    def finish(self, outputs: Mapping[str, Array]) -> dict[str, Array]:
        """Keep the states, and pass the turn on.

        Args:
            outputs: Outputs of the run, by name: those asked for, and the final states.

        Returns:
            Those asked for, in the order asked.

        Raises:
            TooManySequences: If there is no memory left for them.
        """
        states = [outputs[final.name].tobytes() for final in self.served.model.signature.states.values()]
        self.keep(tuple(states), self._rows)
        return {name: outputs[name] for name in self._asked}

    def keep(self, states: tuple[bytes, ...], rows: int) -> None:
        """Keep the states, and pass the turn on.

        Args:
            states: The bytes of each, in row-major order of its own shape.
            rows: Size of their batch axis.

        Raises:
            TooManySequences: If there is no memory left for them.
        """
        store, sequence = self._store, self._sequence
        with store.lock:
            if self._is_over:
                return  # it has been refused: after a failure in the middle of a batch, all of the batch may be
            if self._control.ends:
                store.end(sequence)
            else:
                store.keep(sequence, states, rows)
            self._is_over = True
            if not sequence.waiting:
                sequence.has_turn = False
                return
        pass_turn(store, sequence)

    def fail(self) -> None:
        """Leave the sequence as it was, and pass the turn on; end it where this is its first request."""
        store, sequence = self._store, self._sequence
        with store.lock:
            if self._is_over:
                return
            self._is_over = True
            if self._control.starts:
                store.end(sequence)
            if not self._has_turn:
                return
        pass_turn(store, sequence)

    def _take_turn(self) -> bool:
        """Note that the turn has come; return whether it is of use still. With the lock held."""
        self._has_turn = not self._is_over
        return self._has_turn

    def _give_up(self) -> None:
        """Have no more part in the sequence. With the lock held."""
        self._is_over = True


def pass_turn(store: SequenceStore, sequence: KeptSequence) -> None:
    """Give the turn to the request that has waited longest; refuse all that wait where the sequence is over.

    A request that is refused in its turn passes it on before `take_turn` returns: then this loop goes on. Where each
    did so by itself, 300 of them were more calls in calls than Python allows, and the sequence was held up for good.
    """
    with store.lock:
        sequence.was_passed = True
        if sequence.is_passing:
            return
        sequence.is_passing = True
    while (next_one := _next(store, sequence)) is not None:
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
        del next_one, step, waiter, error  # another thread may answer it now: it is not to be kept here


def _next(store: SequenceStore, sequence: KeptSequence) -> tuple[Step, Waiter, ServeError | None] | None:
    """Take the next request out of those that wait, with the error that it is to be refused with.

    None where none is left, or the last one has its turn still.
    """
    with store.lock:
        if sequence.has_turn and not sequence.was_passed:
            sequence.is_passing = False
            return None
        sequence.has_turn = sequence.was_passed = False
        while sequence.waiting:
            step, waiter = sequence.waiting.popleft()
            store.waiting[sequence.key[1]] -= 1
            if sequence.is_over:
                step._give_up()  # noqa: SLF001 - of this module
                return step, waiter, store.unknown(sequence.key)
            if step._take_turn():  # noqa: SLF001 - of this module
                sequence.has_turn = True
                return step, waiter, None
        sequence.is_passing = False
        return None
