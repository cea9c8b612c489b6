"""Whether the public transport gets on, and which bytes of its connections messages account for.

On it, gRPC's core reads from connections on threads of an event engine, a few of them, and more a second or so later
where all have something to do. Each reads from one connection for as long as bytes arrive (`connections.flood_guard`
says of what): eight floods kept all of these threads, and a client beside them waited for 1 to 2.4 s.

How far such a thread has come cannot be seen. What can is that few messages come while the process works; and whose
bytes are none: of each connection as much is read as its messages have, and those that may be arriving. The messages of
each connection are counted only in such times, since to name a call's connection costs its thread Python's lock twice.
"""

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from rnnserve.server.connections.flood_guard import Progress, address_of
from rnnserve.server.transport.received_bytes import ReceivedBytes

__all__ = ["PublicProgress", "ReceivingPool"]

_FEW = 160
"""Messages a second below which few come. One client that asks again and again sends 300."""

_IDLE_SECONDS, _LOOKS = 20e-3, 10
"""Seconds of processor time within so many looks below which the process does not work. On a machine with too much to
do a flooded server may have none for the time of a look."""

_LARGE_AT_ONCE = 4
"""Of the messages that may be arriving on one connection, as many may be large: two are received at once."""


class ReceivingPool(Protocol):
    """A pool of threads whose calls receive messages."""

    def awaited(self) -> Iterable[str]:
        """Name the connection of each call that waits for a message, or to receive one."""


class PublicProgress:
    """Looks at the messages that pools receive. For the guard's thread."""

    def __init__(
        self,
        received: ReceivedBytes,
        pools: Iterable[ReceivingPool],
        message_bytes: int,
        ahead: int,
        seconds: Callable[[], float] = time.process_time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin without a look.

        Args:
            received: Messages that the pools have received.
            pools: Pools that receive them.
            message_bytes: Bytes that a message may have.
            ahead: Bytes of a call that are read before its message is received.
            seconds: Function that gives the processor time that the process has used, in seconds.
            clock: Clock, in seconds.
        """
        self._received = received
        self._pools = tuple(pools)
        self._message_bytes = message_bytes
        self._ahead = ahead
        self._seconds = seconds
        self._clock = clock
        self._turns = 0
        self._messages, self._at = received.messages, -math.inf  # at the last look
        self._worked: deque[float] = deque(maxlen=_LOOKS)  # at each of the last looks

    def progress(self) -> Progress:
        """Count a turn where many messages have come since the last look, or the process hardly works."""
        messages, at, worked = self._received.messages, self._clock(), self._seconds()
        self._worked.append(worked)
        has_many = messages - self._messages >= _FEW * (at - self._at)
        if has_many or worked - self._worked[0] < _IDLE_SECONDS:
            self._turns += 1
            self._received.by_connection = None
        elif self._received.by_connection is None:
            self._received.by_connection = Counter()
        self._messages, self._at = messages, at
        return Progress(self._turns, worked)

    def expected(self) -> Mapping[str, int]:
        """Bytes that messages account for since few came, received or arriving, by the address of the peer."""
        received = self._received.by_connection
        expected = Counter({address_of(peer): size for peer, size in dict(received or {}).items()})
        awaited = Counter(peer for pool in self._pools for peer in pool.awaited())
        for peer, count in awaited.items():
            expected[address_of(peer)] += self._message_bytes * min(count, _LARGE_AT_ONCE) + self._ahead * count
        return expected
