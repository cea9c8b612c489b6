"""What an attack is, what it may use, and what it notes of the answers."""

import dataclasses
import itertools
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any

import grpc

from .target import Target

__all__ = ["Answers", "Attack", "Strike", "attack"]

_TEXT = 70
"""Characters of an answer's text that the table shows."""

_LONGEST_CALL = 20.0
"""Seconds after the attack's own that an answer is waited for: a server that is busy that long is noted as such."""


class Answers:
    """What a server answered, counted. For any threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self._samples: dict[str, str] = {}

    def note(self, status: str, text: str = "") -> None:
        """Count an answer: a gRPC status, or what happened to a connection."""
        with self._lock:
            self.counts[status] += 1
            self._samples.setdefault(status, " ".join(text.split()))

    def __str__(self) -> str:
        """The most frequent ones, each with the beginning of the first text that came with it."""
        with self._lock:
            said = []
            for status, count in self.counts.most_common(4):
                text = self._samples[status]
                cut = text if len(text) <= _TEXT else text[: _TEXT - 1] + "…"
                said.append(f"{count:,} {status}" + (f": {cut}" if cut else ""))
            return "; ".join(said) or "nothing"

    @property
    def texts(self) -> Iterable[str]:
        """The first text of each status."""
        return tuple(self._samples.values())


class Strike:
    """One run of an attack.

    Attributes:
        target: The server.
        answers: What it answered.
        until: When the attack has to end, on the clock of `time.monotonic`.
    """

    def __init__(self, target: Target, answers: Answers, until: float) -> None:
        self.target = target
        self.answers = answers
        self.until = until

    def left(self) -> float:
        """Seconds until the end; 0 after it."""
        return max(0.0, self.until - time.monotonic())

    def call(
        self,
        method: str,
        payload: bytes,
        *,
        metadata: tuple[tuple[str, str], ...] = (),
        timeout: float | None = None,
    ) -> None:
        """Call a method of the protocol's service, or another by its full name, and note the answer."""
        self.flood(method, [payload], metadata=metadata, timeout=timeout)

    def flood(
        self,
        method: str,
        payloads: Iterable[bytes],
        *,
        in_flight: int = 32,
        metadata: tuple[tuple[str, str], ...] = (),
        timeout: float | None = None,
    ) -> None:
        """Call a method with each payload, as many as fit into the time, some in flight together. Note the answers."""
        send = self.target.channel.unary_unary(self.target.path(method))
        waiting: deque[Any] = deque()
        for payload in payloads:
            if waiting and not self.left():
                break
            longest = timeout if timeout is not None else self.left() + _LONGEST_CALL
            waiting.append(send.future(payload, timeout=longest, metadata=metadata))
            if len(waiting) >= in_flight:
                self._note(waiting.popleft())
        for answer in waiting:
            self._note(answer)

    def _note(self, answer: Any) -> None:
        try:
            answer.result()
        except grpc.FutureCancelledError:
            self.answers.note("CANCELLED", "by the client's library")
        except grpc.RpcError as error:
            self.answers.note(error.code().name, error.details() or "")
        else:
            self.answers.note("OK")


@dataclasses.dataclass(frozen=True)
class Attack:
    """A way to harm a server.

    Attributes:
        name: Short, of plain words joined by hyphens.
        kind: The class of attack that it belongs to.
        what: What is sent, in a sentence.
        run: Does it, within the strike's time.
    """

    name: str
    kind: str
    what: str
    run: Callable[[Strike], None]


def attack(kind: str) -> Callable[[Callable[[Strike], None]], Attack]:
    """Make an attack of a function: its name is the function's, what is sent the first line of the docstring."""

    def make(run: Callable[[Strike], None]) -> Attack:
        what = next(itertools.chain((run.__doc__ or "").splitlines(), [""])).rstrip(".")
        return Attack(run.__name__.replace("_", "-"), kind, what, run)

    return make
