"""Sequences that move between the workers of one server, with their states.

A client's next connection may lead to another worker: connections are renewed, and workers are restarted. A request
that continues a sequence which its worker does not have makes the worker ask the others. The one that has it gives it
away, and from then on it is where it was asked for; requests wait for that as they wait for their turn. A worker that
leaves gives away what it still has, to whichever worker takes it: a request that comes later finds it there.

What is asked for is one sequence of an id: with the same `sequence_key`; or, without one, that began on a connection
from the same origin, which is closed. Where several fit, none moves: whose it would be, nothing tells. One that is in
use, or whose connection is about to close, is waited for.

A message has a line of JSON, and after it the bytes of states, one after another.
"""

import dataclasses
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from rnnserve.server.clock import now
from rnnserve.server.errors import NotFound, TooManyCalls, TooManySequences
from rnnserve.server.protocol.sequence_store import KeptSequence, SequenceKey, SequenceStore
from rnnserve.server.protocol.sequence_turns import pass_turn
from rnnserve.server.repository.repository import ServedVersion

__all__ = ["MoveBounds", "OtherWorkers", "SequenceMoves", "ServedVersions", "WantedSequence"]

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.02

_AT_ONCE = 8

_BATCH_BYTES = 1 << 20
_BATCH = 1000
"""How much a worker that leaves gives away in one message."""


class OtherWorkers(Protocol):
    """The other workers of this server."""

    def ask_all(self, message: bytes) -> list[bytes]:
        """Ask all; return the answers that are not empty."""

    def ask_one(self, message: bytes) -> bytes:
        """Ask one after another until one gives an answer that is not empty; return it, or nothing."""


class ServedVersions(Protocol):
    """The versions that this worker serves."""

    def with_digest(self, name: str, digest: str) -> ServedVersion | None:
        """Find the version of a model whose manifest has this `self_sha256`, if it serves.

        Raises:
            NotFound: If there is no such model.
        """


@dataclasses.dataclass(frozen=True)
class MoveBounds:
    """Bounds of asking for sequences.

    Attributes:
        wait_seconds: For which a sequence that is in use, or whose connection is not closed yet, is waited for.
        most_asked: Sequences that are asked for at other workers, or wait to be. Beyond it: RESOURCE_EXHAUSTED.
    """

    wait_seconds: float = 2.0
    most_asked: int = 1024


@dataclasses.dataclass(frozen=True)
class WantedSequence:
    """What is asked for.

    Attributes:
        scope: Of its id, where it has a key or all connections share their ids; None where connections have their own.
        origin: Where its connection came from; empty where it has a scope.
        model: The model's name.
        id: Its id.
        digest: `self_sha256` of the manifest of the version that the request asks.
    """

    scope: str | None
    origin: str
    model: str
    id: int | str
    digest: str


class SequenceMoves:
    """Asks for sequences, and gives them away. Any thread may use it."""

    def __init__(
        self,
        store: SequenceStore,
        versions: ServedVersions,
        is_orphan: Callable[[KeptSequence], bool],
        others: OtherWorkers,
        bounds: MoveBounds,
    ) -> None:
        """Begin with nothing asked for.

        Args:
            store: The sequences of this worker.
            versions: The versions that this worker serves.
            is_orphan: A function that says whether a sequence's connection is closed. Called with the store's lock
                held.
            others: The other workers.
            bounds: Bounds of asking for sequences.
        """
        self._bounds = bounds
        self._store = store
        self._versions = versions
        self._is_orphan = is_orphan
        self._others = others
        self._asking = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="sequences")
        self._asked = 0
        self._is_leaving = False

    def ask(self, sequence: KeptSequence, wanted: WantedSequence) -> None:
        """Let a sequence be filled with the one that another worker has; until then its turn is not given to requests.

        With the store's lock held.

        Args:
            sequence: A new one, in the store, whose turn is taken.
            wanted: The sequence that is asked for.

        Raises:
            TooManyCalls: If too many are asked for.
        """
        if self._asked >= self._bounds.most_asked:
            raise TooManyCalls("requests of sequences that other workers may have", self._bounds.most_asked)
        self._asked += 1
        try:
            self._asking.submit(self._fill, sequence, wanted)
        except RuntimeError:  # closed
            self._asked -= 1
            raise self._store.unknown(sequence.key) from None

    def answer(self, message: bytes) -> bytes:
        """Answer another worker."""
        said, states = _read(message)
        if said["op"] == "count":
            return json.dumps(self._count(WantedSequence(**said["wanted"]))).encode()
        if said["op"] == "take":
            return self._give(WantedSequence(**said["wanted"]))
        return self._adopt_all(said["sequences"], states)

    def give_all(self) -> None:
        """Give all sequences that are not in use to the other workers: this one is about to end."""
        self._is_leaving = True
        with self._store.lock:
            leaving = [sequence for sequence in self._store.all() if _is_idle(sequence)]
            for sequence in leaving:
                sequence.has_turn = True  # it is in use for whoever asks for it meanwhile
        given = 0
        for batch in _batches(leaving):
            described = [_describe(sequence) for sequence in batch]
            answer = self._others.ask_one(_write({"op": "adopt", "sequences": described}, batch))
            given += json.loads(answer) if answer else 0
            with self._store.lock:
                for sequence in batch:
                    self._store.end(sequence)
        if leaving:
            _log.info("%d of %d sequences are with other workers now", given, len(leaving))

    def close(self) -> None:
        """Ask for nothing more."""
        self._asking.shutdown(wait=False, cancel_futures=True)

    def _fill(self, sequence: KeptSequence, wanted: WantedSequence) -> None:
        why_not = ""
        try:
            found, why_not = self._find(wanted)
            with self._store.lock:
                if found is not None and self._store.has(sequence):
                    said, (states,) = found
                    self._store.fill(sequence, said["origin"], tuple(states), said["rows"])
        except TooManySequences as error:
            why_not = str(error)
        except Exception:  # noqa: BLE001 - its requests are to be refused, and others asked for
            _log.exception("a sequence of another worker cannot be had")
        finally:
            with self._store.lock:
                self._asked -= 1
                if not sequence.states:
                    sequence.why_over = why_not
                    self._store.end(sequence)
            pass_turn(self._store, sequence)

    def _find(self, wanted: WantedSequence) -> tuple[tuple[dict[str, Any], list[list[bytes]]] | None, str]:
        """Ask until the only sequence that fits may move; or None, and why there is none.

        One that a worker gave away meanwhile was not yet with the one that was asked first, and no longer with the one
        that was asked last: so there is none where it is missing twice in turn.
        """
        message = {"wanted": dataclasses.asdict(wanted)}
        deadline, was_there = time.monotonic() + self._bounds.wait_seconds, True
        while True:
            is_late = time.monotonic() > deadline
            counts = [self._count(wanted), *map(json.loads, self._others.ask_all(_write({"op": "count", **message})))]
            free, busy, of_other_versions = map(sum, zip(*counts, strict=True))
            if free > 1:
                return None, "several sequences of this id are without a connection: a sequence_key tells them apart"
            if free == 1:
                answer = self._give(wanted) or self._others.ask_one(_write({"op": "take", **message}))
                if answer:
                    return _read(answer), ""
            is_there = free + busy > 0
            if is_late or not (is_there or was_there):
                return None, "it began on another version of the model" if of_other_versions else ""
            was_there = is_there
            if is_there:
                time.sleep(_LOOK_SECONDS)

    def _count(self, wanted: WantedSequence) -> tuple[int, int, int]:
        """How many sequences fit and may move, fit and are in use, and would fit but for their version."""
        with self._store.lock:
            fitting = list(self._fitting(wanted))
            of_version = [each for each in fitting if _digest(each) == wanted.digest]
            free = sum(self._is_free(each, wanted) for each in of_version)
        return free, len(of_version) - free, len(fitting) - len(of_version)

    def _give(self, wanted: WantedSequence) -> bytes:
        """Give away the sequence that fits; nothing where there is none, or more than one."""
        with self._store.lock:
            fitting = [each for each in self._fitting(wanted) if _digest(each) == wanted.digest]
            free = [each for each in fitting if self._is_free(each, wanted)]
            if len(free) != 1:
                return b""
            self._store.end(free[0])
            return _write(_describe(free[0]), free)

    def _fitting(self, wanted: WantedSequence) -> Iterable[KeptSequence]:
        """The sequences of this id that are not only asked for themselves."""
        if wanted.scope is None:
            found = self._store.of_origin(wanted.origin, ("", wanted.model, wanted.id))
        else:
            kept = self._store.get((wanted.scope, wanted.model, wanted.id))
            found = [] if kept is None else [kept]
        return (each for each in found if not each.is_wanted)

    def _is_free(self, sequence: KeptSequence, wanted: WantedSequence) -> bool:
        return _is_idle(sequence) and (wanted.scope is not None or self._is_orphan(sequence))

    def _adopt_all(self, described: Sequence[dict[str, Any]], states: Sequence[list[bytes]]) -> bytes:
        """Take the sequences of a worker that leaves; say how many."""
        if self._is_leaving:
            return b""
        taken = sum(self._adopt(each, tuple(of_each)) for each, of_each in zip(described, states, strict=True))
        return json.dumps(taken).encode()

    def _adopt(self, said: dict[str, Any], states: tuple[bytes, ...]) -> bool:
        try:
            served = self._versions.with_digest(said["model"], said["digest"])
        except NotFound:
            return False
        if served is None:
            return False
        key: SequenceKey = (said["scope"], said["model"], said["id"])
        with self._store.lock:
            if self._store.get(key) is not None:
                return False
            try:
                sequence = self._store.start(key, served, said["connection"], "")
                self._store.fill(sequence, said["origin"], states, said["rows"])
            except TooManySequences:
                if (begun := self._store.get(key)) is not None:
                    self._store.end(begun)
                return False
            sequence.is_orphan = True
            sequence.used = now() - said["idle"]
        return True


def _is_idle(sequence: KeptSequence) -> bool:
    return not sequence.has_turn and not sequence.waiting and bool(sequence.states)


def _digest(sequence: KeptSequence) -> str:
    return sequence.served.model.manifest.self_sha256


def _describe(sequence: KeptSequence) -> dict[str, Any]:
    scope, model, identity = sequence.key
    return {
        # A connection's own ids end with it: another one from the same port has no part in them.
        "scope": f"closed {scope}" if sequence.origin else scope,
        "model": model,
        "id": identity,
        "origin": sequence.origin,
        "connection": sequence.connection,
        "digest": _digest(sequence),
        "rows": sequence.rows,
        "idle": max(now() - sequence.used, 0.0),
    }


def _batches(sequences: Sequence[KeptSequence]) -> Iterator[list[KeptSequence]]:
    batch: list[KeptSequence] = []
    nbytes = 0
    for sequence in sequences:
        batch.append(sequence)
        nbytes += sequence.nbytes
        if nbytes > _BATCH_BYTES or len(batch) == _BATCH:
            yield batch
            batch, nbytes = [], 0
    if batch:
        yield batch


def _write(said: dict[str, Any], sequences: Sequence[KeptSequence] = ()) -> bytes:
    sizes = [[len(state) for state in sequence.states] for sequence in sequences]
    head = json.dumps({**said, "sizes": sizes}).encode()
    return b"\n".join((head, b"".join(state for sequence in sequences for state in sequence.states)))


def _read(message: bytes) -> tuple[dict[str, Any], list[list[bytes]]]:
    """Read what `_write` has written: what it says, and the states of each sequence."""
    head, _, data = message.partition(b"\n")
    said = json.loads(head)
    states, at = [], 0
    for sizes in said.pop("sizes"):
        of_one = []
        for size in sizes:
            of_one.append(data[at : at + size])
            at += size
        states.append(of_one)
    return said, states
