"""Sequences: the states that the server keeps between the requests of one sequence.

A sequence is known by its model and its id, among those of one connection or of one `sequence_key`
(`sequence_callers`). It begins with a request that says `sequence_start`, with zeros or with the states that this
request brings; each further request continues from the states that the one before it left; it is dropped after the
request that says `sequence_end`, or after it has been idle for long (`sequence_store`). It stays with the version of
the model on which it began. States are paired by the names that the model was published with.

Requests of one sequence are run one after another, in the order in which they arrived (`sequence_turns`); requests of
many sequences share runs. A request that is refused leaves its sequence as it was.

A client that connects anew begins its sequences anew, too, unless they go by a `sequence_key`. With several workers, a
sequence belongs to the worker of the connection on which it began: another one does not know it.
"""

import weakref

from rnnserve.server.boundary.checked_request import SequenceControl
from rnnserve.server.clock import now
from rnnserve.server.errors import InvalidRequest, SequenceInUse, Unsupported
from rnnserve.server.protocol.sequence_callers import ANY_CONNECTION, Caller, StreamOwner, scope_of_key
from rnnserve.server.protocol.sequence_store import SequenceKey, SequenceStore
from rnnserve.server.protocol.sequence_turns import Step
from rnnserve.server.repository.model import Model
from rnnserve.server.repository.repository import ServedVersion
from rnnserve.server.settings import Settings

__all__ = ["BeganOnAnotherVersion", "Sequences"]


class BeganOnAnotherVersion(InvalidRequest):
    """The request asks for another version than the one that its sequence began on."""


class Sequences:
    """All sequences of a server: a bounded number, of a bounded number of bytes. Any thread may use it."""

    def __init__(self, settings: Settings) -> None:
        """Start without any.

        Args:
            settings: Limits: how many there may be, of how many bytes, how long they may be idle, and whether
                connections share their ids.
        """
        self._store = SequenceStore(settings)
        self._share = settings.share_sequences

    @property
    def count(self) -> int:
        """How many are kept."""
        return self._store.count

    def find(self, model: str, control: SequenceControl, caller: Caller) -> ServedVersion | None:
        """The version that a request's sequence began on; None where it begins one, or there is none."""
        if control.starts:
            return None
        key = self._key(model, control, caller)
        with self._store.lock:
            sequence = self._store.get(key)
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
                sequence = store.start(key, served, caller.peer())
            elif sequence is None:
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


def _why_not_in_parts(model: Model) -> str:
    return model.why_not_in_parts or (
        f'its state "{model.signature.required_state}" may not be left out, so that none is known to start with'
    )
