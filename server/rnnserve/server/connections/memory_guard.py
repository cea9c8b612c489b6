"""The memory of the process, looked at from outside: what no budget counts is bounded here, and given back.

What has arrived of messages that do not end is in gRPC's memory. A client may send all but the last byte of many
messages to the lane, by calls or on streams. The resident memory tells, and the calls that have been without a message
the longest are ended until it is small again.

And what gRPC took for them in small blocks stays free in the C library's arena: 200 MB after sixty messages of 14 MB.
It is given back before any call is ended, since it is no shortage, and when nothing is in hand. What was in use at one
moment may be free at the next, so the latter is tried again for as long as more is resident than there was once: at
most every quarter of a second, and every 8 s where little comes of it.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rnnserve.common.allocation import give_back_free_memory

__all__ = ["Activity", "MemoryGuard", "resident_bytes"]

_log = logging.getLogger(__name__)

_STATM = Path("/proc/self/statm")
_PAGE = 4096

_LOOK_SECONDS = 0.05
_AT_ONCE = 8
"""Calls that are ended between two looks: what they held is given back meanwhile. Some of 15 MB arrive in the time that
it takes to find those that do not."""

_WORTH = 32 << 20
"""Bytes more than there were once for which free memory is given back: that takes some milliseconds."""

_FRUITFUL = 8 << 20
"""Bytes that came of giving back, for which it is tried again soon."""

_SOONEST, _LATEST = 0.25, 8.0
"""Seconds between two times that free memory is given back: doubled each time that little comes of it."""


def resident_bytes() -> int | None:
    """Resident memory of this process in bytes; None where the operating system does not say."""
    try:
        return int(_STATM.read_text().split()[1]) * _PAGE
    except OSError:
        return None


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


class MemoryGuard:
    """Looks at the memory of the process while it serves.

    Attributes:
        most_bytes: Resident bytes, beyond those of the last moment without any activity, above which calls are ended.
    """

    def __init__(
        self,
        most_bytes: int,
        look: Callable[[], Activity],
        end_late: Callable[[int], int],
        note_short: Callable[[bool], None] = lambda _: None,
        *,
        soonest: float = _SOONEST,
    ) -> None:
        """Start the thread, where the operating system tells the memory.

        Args:
            most_bytes: Resident bytes, beyond those of the last moment without any activity, above which calls are
                ended.
            look: A function that says what the server has in hand.
            end_late: A function that ends up to as many calls whose message is late as it is told, and says how many.
            note_short: A function that is told at each look whether memory is short.
            soonest: Seconds between two times that free memory is given back, while much comes of it.
        """
        self.most_bytes = most_bytes
        self._look = look
        self._end_late = end_late
        self._note_short = note_short
        self._soonest = soonest
        self._is_closed = threading.Event()
        self._has_new_models = False
        resident = resident_bytes()
        if resident is not None:
            threading.Thread(target=self._loop, args=(resident,), name="memory guard", daemon=True).start()

    def take_models_into_account(self) -> None:
        """Take what is resident in the next idle moment, free memory apart, for what the models need."""
        self._has_new_models = True

    def close(self) -> None:
        """End the thread."""
        self._is_closed.set()

    def _loop(self, lowest: int) -> None:
        usual_bytes = lowest
        pause, due = self._soonest, 0.0
        while not self._is_closed.wait(_LOOK_SECONDS):
            resident, activity = resident_bytes(), self._look()
            if resident is None:  # no descriptor is left to look with
                continue
            if not activity.has_requests:
                # What streams hold is none of the models', which would else never be given back.
                has_new_models = self._has_new_models and not (activity.has_streams or activity.is_loading)
                if (has_new_models or resident > lowest + _WORTH) and time.monotonic() >= due:
                    before = resident
                    give_back_free_memory()
                    resident = resident_bytes() or before
                    pause = self._soonest if before - resident > _FRUITFUL else min(2 * pause, _LATEST)
                    due = time.monotonic() + pause
                    if has_new_models:
                        self._has_new_models, lowest = False, resident
                lowest = min(lowest, resident)
            if activity.is_loading or not (activity.has_requests or activity.has_streams):
                usual_bytes = resident
            most = usual_bytes + self.most_bytes
            is_short = resident > most and _is_in_use(most)
            self._note_short(is_short)
            if is_short:
                ended = self._end_late(_AT_ONCE)
                if ended:
                    _log.warning("ended %d calls whose messages took memory and did not end", ended)


def _is_in_use(most: int) -> bool:
    """Whether more than so many bytes are resident even when what is free of them has been given back.

    Among many large messages much is free: what gRPC took for those that have been answered, or ended.
    """
    give_back_free_memory()
    resident = resident_bytes()
    return resident is not None and resident > most
