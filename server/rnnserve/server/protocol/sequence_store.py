"""The states that the server keeps between requests: of a bounded number of sequences, a bounded number of bytes."""

import threading
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Collection
from typing import TYPE_CHECKING

from rnnserve.protos.protocol_words import SESSION
from rnnserve.server.clock import now
from rnnserve.server.counting.places import EVICTED
from rnnserve.server.counting.table import count_in_process
from rnnserve.server.errors import NotFound, TooManySequences, quoted
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
        "is_over",
        "is_passing",
        "key",
        "nbytes",
        "owner",
        "rows",
        "served",
        "states",
        "used",
        "waiting",
        "was_passed",
    )

    def __init__(self, key: SequenceKey, served: ServedVersion, connection: str) -> None:
        self.key = key
        self.served = served
        self.connection = connection
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


_OF_CONNECTION, _OF_ADDRESS = 1 / 4, 3 / 8
"""Parts of all sequences, and of all bytes of their states, that one connection and one address may have. Beyond it:
RESOURCE_EXHAUSTED, so that one client leaves room for the others."""


class _Share:
    """What one connection, or one address, has of the sequences: how many, and bytes of their states."""

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
        self._shares: defaultdict[str, _Share] = defaultdict(_Share)  # by connection, and by address
        self._dropped: OrderedDict[SequenceKey, None] = OrderedDict()
        self._is_watched = False
        self._never = threading.Event()
        self._nbytes = 0

    def start(self, key: SequenceKey, served: ServedVersion, connection: str) -> KeptSequence:
        """Make a sequence, in the place of one of this key that was in the middle.

        Args:
            key: The key by which it is found.
            served: The version that it begins on.
            connection: Name of the connection that begins it.

        Raises:
            TooManySequences: If there are as many as may be: in all, of the connection, or of its address.
        """
        before = self._kept.get(key)
        limit = self._settings.max_sequences
        if len(self._kept) - (before is not None) >= limit:
            raise TooManySequences.of_all(limit)
        replaced = () if before is None else _sharers(before.connection)
        sharers = _sharers(connection)
        for name, (most, words) in zip(sharers, _parts(limit), strict=True):
            if name in self._shares and self._shares[name].count - (name in replaced) >= most:
                raise TooManySequences.of_part(words, most)
        if before is not None:
            self._remove(before)
        for name in sharers:
            self._shares[name].count += 1
        self._dropped.pop(key, None)
        sequence = self._kept[key] = KeptSequence(key, served, connection)
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
        self._nbytes -= sequence.nbytes
        for name in _sharers(sequence.connection):
            share = self._shares[name]
            share.nbytes -= sequence.nbytes
            share.count -= 1
            if not share.count:
                del self._shares[name]
        sequence.nbytes = 0

    def _take(self, sequence: KeptSequence, nbytes: int) -> None:
        limit, more = self._settings.max_sequence_bytes, nbytes - sequence.nbytes
        sharers = _sharers(sequence.connection)
        if self._nbytes + more > limit:
            raise TooManySequences.of_bytes(limit)
        for name, (most, words) in zip(sharers, _parts(limit), strict=True):
            if self._shares[name].nbytes + more > most:
                raise TooManySequences.of_bytes(most, words)
        self._nbytes += more
        for name in sharers:
            self._shares[name].nbytes += more
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


def _sharers(connection: str) -> tuple[str, str]:
    """The connection, and the address that it comes from: by these names its sequences are counted."""
    return connection, connection.rpartition(":")[0]


def _parts(limit: int) -> tuple[tuple[int, str], tuple[int, str]]:
    """How many of so many a connection and an address may have, one at least, and the words for it."""
    return (
        (max(1, int(limit * _OF_CONNECTION)), "a quarter of them of one connection"),
        (max(1, int(limit * _OF_ADDRESS)), "three eighths of them of one address"),
    )


def _said(key: SequenceKey) -> str:
    _, model, identity = key
    said = quoted(identity) if isinstance(identity, str) else str(identity)
    return f'sequence {said} of model "{model}"'
