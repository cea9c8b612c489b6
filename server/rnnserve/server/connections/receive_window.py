"""How many messages are received at once, and whose is next: the one rule of both transports.

The bytes of a message that is being received are not counted yet, which may be 16 MB: so few are received at once, and
fewer after a large one. Those that do not arrive must not keep others waiting: after a while they are passed over.
"""

from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

from rnnserve.server.clock import now
from rnnserve.server.connections.byte_budget import SMALL
from rnnserve.server.connections.connection_turns import ConnectionTurns

__all__ = ["ReceiveWindow"]


class _Receiver(Protocol):
    def peer(self) -> str:
        """Name its connection."""


R = TypeVar("R", bound=_Receiver)


class ReceiveWindow(Generic[R]):
    """Counts the messages that are being received, and orders those that wait for that. For one thread at a time.

    The transports read its attributes, since a call costs each request of the lane: while `is_usual` and none waits,
    `taken -= 1` does what `give_back` does after a small message; and one may be received while `taken < limit`.

    Attributes:
        taken: Messages that are being received.
        limit: How many may be: those that are passed over are not counted.
        turns: Those that wait; for reading.
        waiting: How many wait.
        is_usual: Whether none is passed over and the last messages were small: the usual state.
    """

    __slots__ = (
        "_after_large",
        "_at_once",
        "_changed_at",
        "_clock",
        "_in_order",
        "_late",
        "_late_seconds",
        "_most",
        "_usual",
        "is_usual",
        "limit",
        "taken",
        "turns",
        "waiting",
    )

    def __init__(
        self,
        at_once: int,
        after_large: int,
        late_seconds: float,
        *,
        in_order: int = 0,
        clock: Callable[[], float] = now,
    ) -> None:
        """Start with none.

        Args:
            at_once: Messages that are received at once.
            after_large: Messages that are received at once after a large one; each small one raises the number by one.
            late_seconds: Seconds without a message after which those that are being received are passed over.
            in_order: Receivers that may wait in the order of their arrival. Where more wait, and after a large message,
                connections take turns until none waits: to name the connection of each, and to take turns, costs 2 of
                the 20 microseconds of a request on the lane.
            clock: Clock, in seconds.
        """
        self._at_once = self._most = self.limit = at_once
        self._after_large = after_large
        self._usual = at_once, after_large
        self._late_seconds = late_seconds
        self._in_order = in_order
        self._clock = clock
        self.turns: ConnectionTurns[R] = ConnectionTurns()
        self._late = 0  # of the taken: others are received beside them
        self._changed_at = 0.0  # when a message came, or the first began to wait
        self.taken = self.waiting = 0
        self.is_usual = True

    def bound(self, at_most: int | None) -> None:
        """Receive no more at once from now on, and one after a large one. For any thread.

        What another thread counts at the same moment may undo it until the next message.

        Args:
            at_most: Messages that are received at once at the most; None for as many as at first.
        """
        at_once, after_large = self._usual
        if at_most is None:
            self._at_once, self._after_large, self._most = at_once, after_large, at_once
        else:
            self._at_once, self._after_large = min(at_once, at_most), 1
            self._most = min(self._most, self._at_once)
        self._set_limit()

    def wait(self, receiver: R) -> None:
        """Add a receiver after the others, or after those of its connection. `next` gives it when it is its turn."""
        turns = self.turns
        if not self.waiting:
            self._changed_at = self._clock()  # before, none had to arrive
        self.waiting += 1
        if turns.grouped or self._most < self._at_once or self.waiting > self._in_order:
            turns.group(_peer)
            turns.add(receiver.peer(), receiver)
        else:
            turns.ungrouped.append(receiver)

    def count_received(self, size: int) -> None:
        """Count a message that has been received, and give no receiver its turn: `next` does.

        Args:
            size: Bytes of the message; 0 where none has come.
        """
        self.taken -= 1
        if self._late > self.taken:
            self._late = self.taken
        if size > SMALL:
            self._most = self._after_large
            self.turns.group(_peer)
        elif self._most < self._at_once:
            self._most += 1
        self._set_limit()
        if self.waiting:
            self._changed_at = self._clock()

    def give_back(self, size: int) -> R | None:
        """Count a message that has been received.

        Args:
            size: Bytes of the message; 0 where none has come.

        Returns:
            The receiver whose turn it is now, counted. None where there is none, and after a large message, which has
            taken so long that the transport first looks at what else has come: then `next` gives it.
        """
        self.count_received(size)
        return self.next() if self.waiting and size <= SMALL else None

    def pass_on(self) -> R:
        """Give the receiver whose turn it is, in the place of one whose message, a small one, has been received.

        What `give_back` does while `is_usual` and others wait, with less time.
        """
        self.waiting -= 1
        self._changed_at = self._clock()
        in_order = self.turns.ungrouped
        return in_order.popleft() if in_order else self.turns.pop()

    def next(self, may: Callable[[Hashable], bool] | None = None) -> R | None:
        """Give the receiver whose turn it is, counted; None where there is none, or none may be received now.

        Args:
            may: Whether a connection may have its turn; None where each may.
        """
        if not self.waiting or self.taken >= self.limit:
            return None
        try:
            receiver = self.turns.pop(may)
        except StopIteration:  # none may
            return None
        self.taken += 1
        self.waiting -= 1
        return receiver

    def displace(self, receiver: R) -> R | None:
        """Take out one of those that wait, in favour of another that does not wait yet (`ConnectionTurns.displace`)."""
        self.turns.group(_peer)
        displaced = self.turns.displace(receiver.peer())
        self.waiting -= displaced is not None
        return displaced

    def pass_late(self) -> None:
        """Pass over those whose messages do not arrive, where others wait for that. To be called again and again.

        Each time, twice as many are received beside them as before, up to the usual number: no large one came of late.
        """
        if not self.waiting or self.taken < self.limit or self._clock() < self._changed_at + self._late_seconds:
            return
        self._changed_at = self._clock()
        self._late = self.taken
        self._most = min(2 * self._most, self._at_once)
        self._set_limit()

    def _set_limit(self) -> None:
        self.limit = self._most + self._late
        self.is_usual = self._most == self._at_once and not self._late and self.taken <= self.limit


def _peer(receiver: _Receiver) -> str:
    return receiver.peer()
