"""The states that the server keeps between requests: of a bounded number of sequences, a bounded number of bytes."""

import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Collection
from typing import TYPE_CHECKING

from rnnserve.protos.protocol_words import SESSION
from rnnserve.server.clock import now
from rnnserve.server.counting.places import EVICTED
from rnnserve.server.counting.table import count_in_process
from rnnserve.server.error_texts import quoted
from rnnserve.server.errors import NotFound, TooManySequences
from rnnserve.server.protocol.sequence_callers import ANY_CONNECTION, StreamOwner
from rnnserve.server.repository.repository import ServedVersion
from rnnserve.server.settings import Settings

if TYPE_CHECKING:
    from rnnserve.server.protocol.sequence_turns import Step, Waiter

__all__ = ["KeptSequence", "SequenceKey", "SequenceStore"]

_REMEMBERED = 4096
"""How many ids of sequences are remembered that were dropped for being idle, to tell their clients so."""

_LOOK_SECONDS = (0.05, 1.0)
"""Seconds between two looks for sequences that have been idle for too long, at least and at most."""

SequenceKey = tuple[str, str, int | str]
"""The scope of its id (its connection, or its key), its model's name, and its id."""


class KeptSequence:
    """What is kept of a sequence.

    Attributes:
        key: What it is found by.
        served: The version that it began on.
        connection: Names the connection that it began on.
        origin: Where that connection comes from; empty where no other one is to take the sequence over.
        is_orphan: Whether the connection that it belongs to is known to be closed.
        owner: Gives the stream that its last request came on, while there is that stream; None for a request without
            one. An idle sequence keeps no stream that has ended, nor gRPC's part of it.
        states: The bytes of each state in the signature's order, in row-major order of its own shape; empty before its
            first request has been run.
        rows: Size of their batch axis.
        nbytes: Bytes of the states.
        used: When its last request arrived or was answered, in seconds on the clock of `clock`.
        is_over: Whether it has ended, or its first request was refused: what has arrived for it since is refused.
        has_turn: Whether one of its requests has its turn: it waits to be run, or is run.
        is_passing: Whether a thread is passing the turn on; the turn came back meanwhile where `was_passed`.
        waiting: Requests that have arrived after the one that has its turn.
    """

    __slots__ = (
        "connection",
        "has_turn",
        "is_orphan",
        "is_over",
        "is_passing",
        "key",
        "nbytes",
        "origin",
        "owner",
        "rows",
        "served",
        "states",
        "used",
        "waiting",
        "was_passed",
    )

    def __init__(self, key: SequenceKey, served: ServedVersion, connection: str, origin: str) -> None:
        self.key = key
        self.served = served
        self.connection = connection
        self.origin = origin
        self.is_orphan = False
        self.owner: weakref.ref[StreamOwner] | None = None
        self.states: tuple[bytes, ...] = ()
        self.rows = 0
        self.nbytes = 0
        self.used = 0.0
        self.is_over = False
        self.has_turn = False
        self.is_passing = self.was_passed = False
        self.waiting: deque[tuple[Step, Waiter]] = deque()

    def __str__(self) -> str:
        return _said(self.key)


class _Share:
    """What one connection has of the sequences: how many, and bytes of their states."""

    __slots__ = ("count", "nbytes")

    def __init__(self) -> None:
        self.count = self.nbytes = 0


class SequenceStore:
    """Keeps sequences, and drops those that are idle for long. All but the constructor is called with the lock held.

    Attributes:
        lock: Guards the sequences, and the turns of their requests.
        get: Gives a sequence by its key; None for none.
        move_to_end: Puts the sequence of a key after all others: it has been used last.
        idle_seconds: Seconds without a request after which a sequence is dropped.
        waiting: Requests of a model's sequences that wait for their turn, by the model's name.
        max_waiting: How many may, of each model.
    """

    def __init__(self, settings: Settings) -> None:
        """Start without any.

        Args:
            settings: Limits: how many there may be, of how many bytes, and how long they may be idle.
        """
        self.lock = threading.Lock()
        self.waiting: dict[str, int] = {}
        self.max_waiting = settings.max_queue
        self._settings = settings
        self._kept: OrderedDict[SequenceKey, KeptSequence] = OrderedDict()  # the one used longest ago first
        # Each request of a sequence uses these two: methods of Python would be two calls more.
        self.get = self._kept.get
        self.move_to_end = self._kept.move_to_end
        self.idle_seconds = settings.sequence_idle
        self._by_origin: dict[SequenceKey, dict[SequenceKey, KeptSequence]] = {}
        self._shares: dict[str, _Share] = {}  # by connection
        self._dropped: OrderedDict[SequenceKey, None] = OrderedDict()
        self._is_watched = False
        self._never = threading.Event()
        self._nbytes = 0

    def start(self, key: SequenceKey, served: ServedVersion, connection: str, origin: str) -> KeptSequence:
        """Make a sequence, in the place of one of this key that was in the middle.

        Args:
            key: The key by which it is found.
            served: The version that it begins on.
            connection: Name of the connection that begins it.
            origin: Origin of that connection; empty where no other connection is to take the sequence over.

        Raises:
            TooManySequences: If there are as many as may be, in all or of the connection.
        """
        before = self._kept.get(key)
        limit, most = self._settings.max_sequences, (self._settings.max_sequences + 1) // 2
        if len(self._kept) - (before is not None) >= limit:
            raise TooManySequences.of_all(limit)
        is_own = before is not None and before.connection == connection
        share = self._shares.get(connection)
        if share is not None and share.count - is_own >= most:
            raise TooManySequences.of_connection(most)
        if before is not None:
            self._remove(before)
        self._shares.setdefault(connection, _Share()).count += 1
        self._dropped.pop(key, None)
        sequence = self._kept[key] = KeptSequence(key, served, connection, origin)
        if origin:
            self._by_origin.setdefault((origin, *key[1:]), {})[key] = sequence
        if not self._is_watched:
            self._is_watched = True
            threading.Thread(target=self._watch, name="idle sequences", daemon=True).start()
        return sequence

    def has(self, sequence: KeptSequence) -> bool:
        """Whether a sequence is kept, and no other has been begun in its place."""
        return self._kept.get(sequence.key) is sequence

    def all(self) -> Collection[KeptSequence]:
        """All sequences, the one used longest ago first."""
        return list(self._kept.values())

    def of_origin(self, origin: str, key: SequenceKey) -> Collection[KeptSequence]:
        """The sequences of the same model and id that began on connections from an origin."""
        return self._by_origin.get((origin, *key[1:]), {}).values()

    def move(self, sequence: KeptSequence, key: SequenceKey) -> None:
        """Let a sequence be found by another key, of the same model and id: that of the connection that takes it over.

        What it takes still counts for the connection that began it.
        """
        of_origin = self._by_origin[sequence.origin, *key[1:]]
        for found in (self._kept, of_origin):
            del found[sequence.key]
            found[key] = sequence
        sequence.key = key
        sequence.is_orphan = False

    def keep(self, sequence: KeptSequence, states: tuple[bytes, ...], rows: int) -> None:
        """Keep the states that a request has left, of so many rows.

        Raises:
            TooManySequences: If there is no memory left for them.
        """
        if self.has(sequence):
            nbytes = sum(map(len, states))
            if nbytes > sequence.nbytes:
                self._take(sequence, nbytes)
            sequence.used = now()
            self._kept.move_to_end(sequence.key)  # in the order of use, as `drop_idle` needs them
        sequence.states = states
        sequence.rows = rows

    def end(self, sequence: KeptSequence) -> None:
        """Drop a sequence: its last request was answered, or its first one refused."""
        sequence.is_over = True
        if self.has(sequence):
            self._remove(sequence)

    def drop_idle(self, at: float) -> None:
        """Drop the sequences that have been idle for too long at a time."""
        while self._kept:
            sequence = next(iter(self._kept.values()))
            if sequence.used >= at - self.idle_seconds:
                return
            if sequence.has_turn:  # a request of it waits to be run
                sequence.used = at
                self._kept.move_to_end(sequence.key)
                continue
            self._remove(sequence)
            self._dropped[sequence.key] = None
            count_in_process(EVICTED)
            if len(self._dropped) > _REMEMBERED:
                self._dropped.popitem(last=False)

    @property
    def count(self) -> int:
        """How many there are. Without the lock, too."""
        return len(self._kept)

    def unknown(self, key: SequenceKey) -> NotFound:
        """Say that there is no such sequence. Whether another connection has one of this id, this does not tell."""
        if key in self._dropped:
            return NotFound(
                f"{_said(key)} was dropped after {self.idle_seconds:g} s without a request "
                "(--sequence-idle): start it again with sequence_start"
            )
        words = (
            f"{_said(key)} is not known: its first request has to say sequence_start, and no other since then "
            "sequence_end"
        )
        if self._settings.sharers > 1:
            words += (
                f". A sequence belongs to one of this server's {self._settings.sharers} workers, the one of the "
                "connection on which it began, and ends with it: send all of its requests on one stream or connection, "
                f"or keep its states in the client (parameter {SESSION}), which any worker can continue"
            )
        elif key[0] != ANY_CONNECTION:
            words += (
                ". Sequences belong to the connection that began them: to continue one on another, send the same "
                "sequence_key with all of its requests"
            )
        return NotFound(words)

    def _remove(self, sequence: KeptSequence) -> None:
        del self._kept[sequence.key]
        if sequence.origin:
            name = (sequence.origin, *sequence.key[1:])
            of_origin = self._by_origin[name]
            del of_origin[sequence.key]
            if not of_origin:
                del self._by_origin[name]
        share = self._shares[sequence.connection]
        self._nbytes -= sequence.nbytes
        share.nbytes -= sequence.nbytes
        share.count -= 1
        sequence.nbytes = 0
        if not share.count:
            del self._shares[sequence.connection]

    def _take(self, sequence: KeptSequence, nbytes: int) -> None:
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
            with self.lock:
                at = now()
                self.drop_idle(at)
                if not self._kept:
                    self._is_watched = False
                    return
                oldest = next(iter(self._kept.values())).used
            self._never.wait(min(max(oldest + self.idle_seconds - at, least), most))


def _said(key: SequenceKey) -> str:
    _, model, identity = key
    said = quoted(identity) if isinstance(identity, str) else str(identity)
    return f'sequence {said} of model "{model}"'
