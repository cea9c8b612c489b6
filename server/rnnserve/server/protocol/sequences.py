"""Sequences: the states that the server keeps between the requests of one sequence.

A sequence is known by its model and its id, among those of one connection or of one `sequence_key`
(`sequence_callers`). It begins with a request that says `sequence_start`, with zeros or with the states that this
request brings; each further request continues from the states that the one before it left; it is dropped after the
request that says `sequence_end`, or after it has been idle for long (`sequence_store`). It stays with the version of
the model on which it began. States are paired by the names that the model was published with.

Requests of one sequence are run one after another, in the order in which they arrived (`sequence_turns`); requests of
many sequences share runs. A request that is refused leaves its sequence as it was.

A client whose connection is closed connects anew, and goes on: a sequence whose connection is closed is taken over by
the connection that asks for it from the same origin, if there is only one such sequence. With several workers, a
sequence belongs to the worker of the connection on which it began: another one does not know it.
"""

import weakref
from collections.abc import Callable

from rnnserve.server.boundary.sequence_parameters import SequenceControl
from rnnserve.server.clock import now
from rnnserve.server.connections.open_connections import OpenConnections
from rnnserve.server.errors import InvalidRequest, SequenceInUse, Unsupported
from rnnserve.server.protocol.sequence_callers import (
    ANY_CONNECTION,
    Caller,
    StreamOwner,
    origin_of,
    scope_of_key,
)
from rnnserve.server.protocol.sequence_store import KeptSequence, SequenceKey, SequenceStore
from rnnserve.server.protocol.sequence_turns import Step
from rnnserve.server.repository.model import Model
from rnnserve.server.repository.repository import ServedVersion
from rnnserve.server.settings import Settings

__all__ = ["BeganOnAnotherVersion", "Sequences"]

_MOST_OF_ORIGIN = 64
"""Sequences of one id and origin among which one whose connection is closed is looked for: among more, none is."""


class BeganOnAnotherVersion(InvalidRequest):
    """The request asks for another version than the one that its sequence began on."""


class Sequences:
    """All sequences of a server: a bounded number, of a bounded number of bytes. Any thread may use it."""

    def __init__(self, settings: Settings, is_open: Callable[[str], bool] | None = None) -> None:
        """Start without any.

        Args:
            settings: Limits: how many there may be, of how many bytes, how long they may be idle, and whether
                connections share their ids.
            is_open: A function that says whether a connection is open, by its name; None to look at the sockets of this
                process.
        """
        self._store = SequenceStore(settings)
        self._share = settings.share_sequences
        self._is_open = OpenConnections().has if is_open is None else is_open

    @property
    def count(self) -> int:
        """How many are kept."""
        return self._store.count

    def connections(self) -> set[str]:
        """Names of the connections that sequences began on, and of those that have taken some over."""
        with self._store.lock:
            return {name for sequence in self._store.all() for name in (sequence.connection, sequence.key[0])}

    def find(self, model: str, control: SequenceControl, caller: Caller) -> ServedVersion | None:
        """The version that a request's sequence began on; None where it begins one, or there is none."""
        if control.starts:
            return None
        key = self._key(model, control, caller)
        with self._store.lock:
            sequence = self._store.get(key)
            if sequence is None:
                sequence = self._take_over(key, control, caller)
            return None if sequence is None else sequence.served

    def enter(
        self, served: ServedVersion, control: SequenceControl, caller: Caller, owner: StreamOwner | None = None
    ) -> Step:
        """Take a request that has arrived into its sequence.

        Args:
            served: The version that it asks, and that it was checked for.
            control: The request's words about its sequence.
            caller: The caller that sends it.
            owner: The stream that it came on.

        Raises:
            BeganOnAnotherVersion: If it asks another version than the one that its sequence began on.
            NotFound: If its sequence has not been started, has ended, was dropped, or is another connection's.
            SequenceInUse: If its sequence is on another stream.
            TooManySequences: If it would start one sequence too many.
            Unsupported: If the model's sequences may not be cut into requests.
        """
        model, store = served.of_sequences.model, self._store
        if model.why_not_in_parts or model.signature.required_state:
            raise Unsupported(
                f'model "{model.name}" takes no sequences a part at a time: {_why_not_in_parts(model)}; send each '
                "sequence whole, in one request without sequence_id"
            )
        key = self._key(model.name, control, caller)
        at = now()
        with store.lock:
            sequence = store.get(key)
            if control.starts or sequence is None or sequence.used < at - store.idle_seconds:
                store.drop_idle(at)
                sequence = store.get(key)
            before = None if sequence is None or sequence.owner is None else sequence.owner()
            if before is not owner and before is not None and before.is_open:
                raise SequenceInUse(
                    f"{sequence} is in use on another stream: ids are to be unique among all clients, such as a random "
                    "number of 63 bits"
                )
            if control.starts:
                sequence = store.start(key, served, caller.peer(), self._origin(control, caller))
            elif sequence is None and (sequence := self._take_over(key, control, caller)) is None:
                raise store.unknown(key)
            if sequence.served is not served:
                raise BeganOnAnotherVersion(
                    f"{sequence} began on version {sequence.served.model.version}; this request asks for version "
                    f"{model.version}"
                )
            if before is not owner or sequence.owner is None:
                sequence.owner = None if owner is None else weakref.ref(owner)
            sequence.used = at
            store.move_to_end(key)
        return Step(store, sequence, control)

    def _key(self, model: str, control: SequenceControl, caller: Caller) -> SequenceKey:
        if control.key:
            return scope_of_key(control.key), model, control.id
        return ANY_CONNECTION if self._share else caller.peer(), model, control.id

    def _origin(self, control: SequenceControl, caller: Caller) -> str:
        """Where the connection of a sequence comes from; empty where it belongs to none."""
        return "" if control.key or self._share else origin_of(caller)

    def _take_over(self, key: SequenceKey, control: SequenceControl, caller: Caller) -> KeptSequence | None:
        """Let a connection have the sequence of one that is closed and came from the same origin.

        None where there is no such sequence, or more than one: whose it would be, nothing tells. With the lock held.
        """
        found = self._store.of_origin(self._origin(control, caller), key)
        if not 0 < len(found) <= _MOST_OF_ORIGIN:
            return None
        orphans = [sequence for sequence in found if self._is_orphan(sequence)]
        if len(orphans) != 1:
            return None
        self._store.move(orphans[0], key)
        return orphans[0]

    def _is_orphan(self, sequence: KeptSequence) -> bool:
        sequence.is_orphan = sequence.is_orphan or not self._is_open(sequence.key[0])
        return sequence.is_orphan


def _why_not_in_parts(model: Model) -> str:
    return model.why_not_in_parts or (
        f'its state "{model.signature.required_state}" may not be left out, so that none is known to start with'
    )
