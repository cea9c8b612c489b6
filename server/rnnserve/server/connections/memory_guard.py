"""The memory of the process, looked at from outside: what no budget counts is bounded here, and given back.

What has arrived of messages that do not end is in gRPC's memory. A client may send all but the last byte of many
messages to the lane, by calls or on streams. The resident memory tells, and the calls that have been without a message
the longest are ended until it is small again. And gRPC keeps for each connection some room that large messages have
taken: where it is not calls, connections that lie idle are ended (`idle_connections`).

And what gRPC took for them in small blocks stays free in the C library's arena: 200 MB after sixty messages of 14 MB.
It is given back before any call is ended, since it is no shortage, and when nothing is in hand. What was in use at one
moment may be free at the next, so the latter is tried again for as long as more is resident than there was once: at
most every quarter of a second, and every 8 s where little comes of it.
"""

import logging
from collections.abc import Callable
from typing import NamedTuple, Protocol

from rnnserve.common.allocation import give_back_free_memory
from rnnserve.common.resident_memory import resident_bytes

__all__ = ["Activity", "MemoryGuard"]

_log = logging.getLogger(__name__)

_AT_ONCE = 8
"""Calls that are ended between two looks: what they held is given back meanwhile. Some of 15 MB arrive in the time that
it takes to find those that do not."""

_IDLE_AT_ONCE = 32
"""Connections that are ended between two looks."""

_COUNT_SECONDS = 1.0
"""Seconds until connections are counted again, or looked for that lie idle: to look at a thousand takes 5 ms."""

_WORTH = 32 << 20
"""Bytes more than there were once for which free memory is given back: that takes some milliseconds."""

_FRUITFUL = 8 << 20
"""Bytes that came of giving back, for which it is tried again soon."""

_SOONEST, _LATEST = 0.25, 8.0
"""Seconds between two times that free memory is given back: doubled each time that little comes of it."""


class Activity(NamedTuple):
    """What the server has in hand.

    Attributes:
        has_requests: Whether requests are in hand that are counted, or being received.
        has_streams: Whether streams are open, on which messages may be arriving.
        is_loading: Whether a version of a model is being loaded, which takes memory, too.
    """

    has_requests: bool
    has_streams: bool
    is_loading: bool


class _Idle(Protocol):
    """Connections that may lie idle (`idle_connections`)."""

    def kept_bytes(self) -> int:
        """Give the bytes that may be kept for those that are open."""

    def end(self, count: int, /) -> int:
        """End up to so many of those that lie idle; give their number."""


class MemoryGuard:
    """Bounds the memory of the process while it serves.

    Attributes:
        most_bytes: Resident bytes, beyond those of the last moment without any activity, above which calls are ended.
    """

    def __init__(
        self,
        most_bytes: int,
        look: Callable[[], Activity],
        end_late: Callable[[int], int],
        note_short: Callable[[bool], None] = lambda _: None,
        idle: _Idle | None = None,
        *,
        soonest: float = _SOONEST,
    ) -> None:
        """Begin with what is resident now.

        Args:
            most_bytes: Resident bytes, beyond those of the last moment without any activity, above which calls are
                ended.
            look: A function that says what the server has in hand.
            end_late: A function that ends up to as many calls whose message is late as it is told, and says how many.
            note_short: A function that is told at each look whether memory is short.
            idle: Connections that may lie idle; None for none.
            soonest: Seconds between two times that free memory is given back, while much comes of it.
        """
        self.most_bytes = most_bytes
        self._look = look
        self._end_late = end_late
        self._note_short = note_short
        self._idle = idle
        self._kept = 0  # bytes that connections may keep, of what is resident
        self._ended = 0  # idle connections, since memory is short
        self._count_due = self._idle_due = 0.0  # when that is counted again, and when idle ones are looked for
        self._soonest = soonest
        self._has_new_models = False
        self._after_loading = 0  # bytes that were resident then
        self._pause, self._due = soonest, 0.0  # of giving back
        self._lowest = self._at_rest = resident_bytes()  # None where the operating system does not say

    def take_models_into_account(self) -> None:
        """Take what is resident now, or in the next idle moment where that is less, for what the models need."""
        self._after_loading = resident_bytes() or 0
        self._has_new_models = True

    def look(self, at: float) -> None:
        """Give back what is free, or end calls, where that is due. To be called again and again, on one thread.

        Args:
            at: Time in seconds on any clock.
        """
        resident = resident_bytes()
        if resident is None:  # no descriptor is left to look with
            return
        activity = self._look()
        if not activity.has_requests:
            resident = self._give_back(resident, activity, at)
            self._lowest = min(self._lowest or resident, resident)
        if not (activity.has_requests or activity.has_streams):
            self._at_rest = resident
        if self._at_rest is None or activity.is_loading:
            usual = self._at_rest = resident
        else:
            usual = self._usual(resident, self._at_rest, at)
        most = usual + self.most_bytes
        is_short = resident > most and _is_in_use(most)
        self._note_short(is_short)
        if is_short:
            ended = self._end_late(_AT_ONCE)
            if ended:
                _log.warning("ended %d calls whose messages took memory and did not end", ended)
            else:
                self._end_idle(at)
        elif self._ended:
            _log.warning("ended %d connections that had sent much and lay idle: memory was short", self._ended)
            self._ended = 0

    def _usual(self, resident: int, at_rest: int, at: float) -> int:
        """Take what was resident at rest for usual, without what connections may keep where much is resident."""
        lowest = resident if self._lowest is None or self._has_new_models else self._lowest
        if self._idle is None or resident <= lowest + self.most_bytes:
            return at_rest
        if at >= self._count_due:
            self._kept, self._count_due = self._idle.kept_bytes(), at + _COUNT_SECONDS
        return max(lowest, at_rest - self._kept)

    def _end_idle(self, at: float) -> None:
        """End some connections that lie idle."""
        if self._idle is None or at < self._idle_due:
            return
        ended = self._idle.end(_IDLE_AT_ONCE)
        self._ended += ended
        if not ended:
            self._idle_due = at + _COUNT_SECONDS

    def _give_back(self, resident: int, activity: Activity, at: float) -> int:
        """Give back what is free, where much may be, and it is time; return what is resident then, in bytes."""
        # What streams hold is none of the models', which would else never be given back.
        has_new_models = self._has_new_models and not (activity.has_streams or activity.is_loading)
        is_worth_it = self._lowest is not None and resident > self._lowest + _WORTH
        if not (has_new_models or is_worth_it) or at < self._due:
            return resident
        give_back_free_memory()
        left = resident_bytes() or resident
        self._pause = self._soonest if resident - left > _FRUITFUL else min(2 * self._pause, _LATEST)
        self._due = at + self._pause
        if has_new_models:
            # Where requests came at once, an idle moment came late, and with what their connections keep.
            self._has_new_models, self._lowest = False, min(left, self._after_loading or left)
        return left


def _is_in_use(most: int) -> bool:
    """Whether more than so many bytes are resident even when what is free of them has been given back.

    Among many large messages much is free: what gRPC took for those that have been answered, or ended.
    """
    give_back_free_memory()
    resident = resident_bytes()
    return resident is not None and resident > most
