"""Calls of the public transport that a pool of threads has in hand: which has a thread next, and which is refused.

A call has its thread together with its turn to receive its message (`ReceiveWindow`), and keeps the turn until its
thread waits, or to its end. Few calls are worked on at once, whose threads do not wait for each other for Python's
lock. The one that has answered a call takes the next without being woken, so that one wake a call is left: that of its
message. Where each call had a thread from its arrival on, which waited for the turn, a request took 8 to 26 switches of
threads, 64 in flight, and now 4 to 14 (docs/lab/findings.md, "gRPC in Python").
"""

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Hashable

from rnnserve.server.clock import now
from rnnserve.server.connections.pooled_call import PooledCall
from rnnserve.server.connections.receive_window import ReceiveWindow

__all__ = ["CallQueue"]

_AT_ONCE, _AT_ONCE_AFTER_LARGE = 8, 2
"""Messages that the public transport receives at once, and after a large one. grpcio makes Python's bytes of all
messages on one thread, which has no time for calls that arrive meanwhile: 30 ms for 16 MB. Beyond it: the next wait,
connections in turn, and are received beside those that do not arrive, unless memory is short."""

_LATE_SECONDS = 0.15
"""Seconds in which no message arrives, after which more are received beside those that do not arrive."""

_AT_WORK, _AT_WORK_SECONDS = 2, 20e-3
"""How many calls are worked on at once: so many have had their turn for no longer than so many seconds. With 2, a
request took 5 to 7 switches of threads in 18 of 20 runs; with 3 and 4, fewer in some, and 12 to 17 in others. Those
that take longer, mostly since their message does not arrive, keep no other from its turn."""


class CallQueue:
    """Calls in hand: those that wait, and those that have a thread. Any thread may use it.

    Attributes:
        taken: How many calls it has taken so far.
        in_hand: How many it has now.
        capacity: How many may be.
        has_refused: Whether one had to be refused for another; to be unset by who looks at it.
        received_at: When the last message has been received, in seconds on the clock.
    """

    def __init__(
        self, threads: int, capacity: int, *, of_connection: int | None = None, clock: Callable[[], float] = now
    ) -> None:
        """Start without any.

        Args:
            threads: Number of calls that have a thread at once.
            capacity: Number of calls that may be in hand, those that wait for a thread included.
            of_connection: Number of calls of one connection that have a thread at once; None for all.
            clock: Clock, in seconds.
        """
        self.taken = self.in_hand = 0
        self.capacity = capacity
        self.has_refused = False
        self.received_at = 0.0
        self._most_threads = threads
        self._of_connection = of_connection
        self._clock = clock
        self._window: ReceiveWindow[PooledCall] = ReceiveWindow(
            _AT_ONCE, _AT_ONCE_AFTER_LARGE, _LATE_SECONDS, clock=clock
        )
        self._have_thread = 0
        self._turns_since: dict[PooledCall, float] = {}  # when each call that has a turn was given it, in this order
        self._has_thread: Counter[Hashable] = Counter()  # calls by connection, where that is limited
        self._lock = threading.Lock()

    def put(self, call: PooledCall) -> PooledCall | None:
        """Take a call in hand; return the one that is to be refused, where there are too many."""
        with self._lock:
            self.taken += 1
            refused = self._refused_for(call)
            if refused is not call:
                self._window.wait(call)
                self.in_hand += refused is None
        return refused

    def take(self) -> PooledCall | None:
        """Give a call that may have a thread now, with its turn; None where there is none."""
        with self._lock:
            return self._next()

    def give_turn_back(self, call: PooledCall) -> None:
        """Let another call have the turn of this one, if it has one, whose thread works on."""
        with self._lock:
            self._count_received(call)

    def end(self, call: PooledCall) -> PooledCall | None:
        """Have a call no longer, which has ended; give another one for its thread."""
        with self._lock:
            self._count_received(call)
            self.in_hand -= 1
            self._have_thread -= 1
            if self._of_connection is not None:
                self._has_thread[call.connection] -= 1
                if not self._has_thread[call.connection]:
                    del self._has_thread[call.connection]
            return self._next()

    def bound_receiving(self, at_most: int | None) -> None:
        """Receive no more messages at once from now on, and one after a large one; None for as many as at first."""
        with self._lock:
            self._window.bound(at_most)

    def pass_late(self) -> None:
        """Let calls have turns beside those whose messages do not arrive. To be called again and again."""
        with self._lock:
            self._window.pass_late()

    def waiting(self) -> list[PooledCall]:
        """Those that wait for a thread."""
        with self._lock:
            return list(self._window.turns)

    def is_crowded(self) -> bool:
        """Whether calls would wait for a thread even if no turn was needed for one."""
        with self._lock:
            if self.in_hand > self._most_threads or self._of_connection is None:
                return self.in_hand > self._most_threads
            counts = self._has_thread + Counter(self._window.turns.counts())
            return max(counts.values(), default=0) > self._of_connection

    def unread(self, receiving: int) -> int:
        """How many calls would wait for their message if no turn was needed for a thread.

        Args:
            receiving: Number of the calls that wait for it, and have one.
        """
        with self._lock:
            return min(self.in_hand, self._most_threads) - self._have_thread + receiving

    def _refused_for(self, call: PooledCall) -> PooledCall | None:
        """The call that is to be refused for another, which may be that one; None where there is room. With the lock.

        It is one of the connection with the most calls that wait, so that it cannot keep others out.
        """
        if self.in_hand < self.capacity:
            return None
        self.has_refused = True
        displaced = self._window.displace(call)
        return call if displaced is None else displaced

    def _next(self) -> PooledCall | None:
        if self._have_thread >= self._most_threads or self._has_enough_at_work():
            return None
        call = self._window.next(None if self._of_connection is None else self._may_have_thread)
        if call is not None:
            call.has_turn = True
            self._turns_since[call] = self._clock()
            self._have_thread += 1
            if self._of_connection is not None:
                self._has_thread[call.connection] += 1
        return call

    def _has_enough_at_work(self) -> bool:
        newest = list(itertools.islice(reversed(self._turns_since.values()), _AT_WORK))
        return len(newest) == _AT_WORK and newest[-1] >= self._clock() - _AT_WORK_SECONDS

    def _may_have_thread(self, connection: Hashable) -> bool:
        return self._of_connection is None or self._has_thread[connection] < self._of_connection

    def _count_received(self, call: PooledCall) -> None:
        if call.has_turn:
            call.has_turn = False
            del self._turns_since[call]
            if call.received:
                self.received_at = self._clock()
            self._window.count_received(call.received)
