"""What the requests of one token take, and may take: how many a second and at once, and how many bytes a second."""

import threading
from collections.abc import Callable

from rnnserve.server.access.refusals import TokenLimitReached
from rnnserve.server.access.tokens_file import Limits
from rnnserve.server.clock import now

__all__ = ["Usage"]


class Usage:
    """Counts of one token's requests. Any thread may use it.

    A rate is a bucket that holds one second's worth. That of bytes may be overdrawn by what has arrived: the size of a
    message is known when it is there, and further ones are refused until the bucket has filled up again.

    Attributes:
        requests: How many were let in.
        limited: How many were refused.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = now) -> None:
        """Start with full buckets.

        Args:
            limits: Limits of what they may take.
            clock: Clock, in seconds.
        """
        self._limits = limits if limits.is_any else None
        self.requests = self.limited = 0
        self._clock = clock
        self._lock = threading.Lock()
        self._in_flight = 0
        self._at = clock()
        self._left = max(limits.rate or 0.0, 1.0)  # requests
        self._bytes_left = float(limits.bytes_per_second or 0)

    def limit(self, limits: Limits) -> None:
        """Have other limits from now on."""
        with self._lock:
            self._limits = limits if limits.is_any else None

    def begin(self) -> bool:
        """Let a request in.

        Returns:
            Whether there are limits: then its bytes are to be counted, and `end` is to be called for it, once.

        Raises:
            TokenLimitReached: If it may not come in now.
        """
        with self._lock:
            if self._limits is not None:
                reached = self._reached(self._limits)
                if reached:
                    self.limited += 1
                    raise TokenLimitReached(reached)
                self._left -= 1.0
                self._in_flight += 1
            self.requests += 1
            return self._limits is not None

    def count_bytes(self, size: int) -> None:
        """Count bytes of a request for which `begin` has said so."""
        with self._lock:
            self._bytes_left -= size

    def end(self) -> None:
        """Note that a request was answered for which `begin` has said so."""
        with self._lock:
            self._in_flight -= 1

    def _reached(self, limits: Limits) -> str:
        """Name the limit that is reached; empty for none. With the lock."""
        at = self._clock()
        passed, self._at = max(at - self._at, 0.0), at
        if limits.rate is not None:
            self._left = min(self._left + passed * limits.rate, max(limits.rate, 1.0))
            if self._left < 1.0:
                return f"rate = {limits.rate:g}"
        if limits.bytes_per_second is not None:
            most = float(limits.bytes_per_second)
            self._bytes_left = min(self._bytes_left + passed * most, most)
            if self._bytes_left <= 0.0:
                return f"bytes_per_second = {limits.bytes_per_second}"
        if limits.in_flight is not None and self._in_flight >= limits.in_flight:
            return f"in_flight = {limits.in_flight}"
        return ""
