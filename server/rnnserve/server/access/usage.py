"""What the requests of one token take, and may take: how many a second and at once, and how many bytes a second."""

import threading
from collections.abc import Callable

from rnnserve.server.access.access_file import Limits
from rnnserve.server.access.refusals import TokenLimitReached
from rnnserve.server.access.shared_usage import SharedNumbers
from rnnserve.server.clock import now

__all__ = ["Usage"]

_BURST_SECONDS = 1.0
"""Seconds' worth of a rate that may come at once; of a rate below one a second, one request."""

_SOON_SECONDS = 1.0
"""Seconds after which a request is to be sent again that found too many others in flight: how long they take is not
known."""

_ROUNDING = 1e-9


class Usage:
    """Counts of one token's requests. Any thread may use it, and workers share what it counts (`shared_usage`).

    A rate is kept as the time until which what was let in has paid for itself: each request moves it on by its share of
    a second, and none is let in that moves it further than a second ahead (GCRA, the leaky bucket of ATM). So one
    number says all, and of several workers' numbers the latest one holds. That of bytes may be ahead by what has
    arrived: the size of a message is known when it is there, and further ones are refused until it is paid for.

    Attributes:
        is_limited: Whether there are limits.
        unlimited_on_lane: How many the lane's thread, which alone writes it, has let in where there were none.
        limited: How many were refused.
    """

    def __init__(
        self,
        limits: Limits,
        clock: Callable[[], float] = now,
        share: Callable[[], SharedNumbers] = SharedNumbers.alone,
    ) -> None:
        """Start with nothing used.

        Args:
            limits: Limits of what they may take.
            clock: Clock, in seconds, that is the same in all workers.
            share: Function that gives the numbers that workers share: called where there are limits.
        """
        self.is_limited = False
        self.unlimited_on_lane = self._requests = self.limited = 0
        self._clock = clock
        self._share = share
        self._lock = threading.Lock()
        self._limits: Limits | None = None
        self._numbers: SharedNumbers | None = None  # where there are limits, or have been
        self.limit(limits)

    def limit(self, limits: Limits) -> None:
        """Have other limits from now on."""
        with self._lock:
            if limits.is_any and self._numbers is None:
                self._numbers = self._share()
            self._limits = limits if limits.is_any else None
            self.is_limited = limits.is_any

    @property
    def requests(self) -> int:
        """How many were let in."""
        return self._requests + self.unlimited_on_lane

    def begin(self) -> bool:
        """Let a request in.

        Returns:
            Whether there are limits: then its bytes are to be counted, and `end` is to be called for it, once.

        Raises:
            TokenLimitReached: If it may not come in now.
        """
        with self._lock:
            if self._limits is not None and self._numbers is not None:
                try:
                    self._let_in(self._limits, self._numbers)
                except TokenLimitReached:
                    self.limited += 1
                    raise
            self._requests += 1
            return self._limits is not None

    def count_bytes(self, size: int) -> None:
        """Count bytes of a request for which `begin` has said so."""
        with self._lock:
            most, numbers = None if self._limits is None else self._limits.bytes_per_second, self._numbers
            if most is not None and numbers is not None:
                numbers.bytes_until = max(numbers.latest_bytes_until(), self._clock()) + size / most

    def end(self) -> None:
        """Note that a request was answered for which `begin` has said so."""
        with self._lock:
            if self._numbers is not None:
                self._numbers.in_flight -= 1

    def _let_in(self, limits: Limits, numbers: SharedNumbers) -> None:
        """Count a request, unless a limit is reached. With the lock."""
        at, until = self._clock(), 0.0
        if limits.rate is not None:
            share = 1.0 / limits.rate
            until = max(numbers.latest_until(), at) + share
            ahead = until - at - max(_BURST_SECONDS, share)
            if ahead > _ROUNDING:
                raise TokenLimitReached(f"rate = {limits.rate:g}", ahead)
        if limits.bytes_per_second is not None:
            ahead = numbers.latest_bytes_until() - at - _BURST_SECONDS
            if ahead >= 0.0:
                raise TokenLimitReached(f"bytes_per_second = {limits.bytes_per_second}", max(ahead, _ROUNDING))
        if limits.in_flight is not None and numbers.all_in_flight() >= limits.in_flight:
            raise TokenLimitReached(f"in_flight = {limits.in_flight}", _SOON_SECONDS)
        if limits.rate is not None:
            numbers.until = until
        numbers.in_flight += 1
