"""The last resort where a front takes more memory than its other bounds should let it: it ends, and is replaced.

Its connections end with it. Without that the kernel would end some process of the machine, and that may be the server.
"""

import gc
import logging
import os
import threading
import time
from collections.abc import Callable

from rnnserve.common.allocation import give_back_free_memory
from rnnserve.common.resident_memory import resident_bytes

__all__ = ["MemoryWatch", "end_beyond", "least_memory_bytes"]

_log = logging.getLogger(__name__)

_LOOK_SECONDS, _IDLE_SECONDS = 0.1, 0.25
"""Seconds between two looks, and where nothing was done since the last: each wakes the process, beside a server that
answers a request in as many microseconds."""

_IDLE_WORK_SECONDS = 2e-3
_STATUS = 1
_WORTH_BYTES = 16 << 20
"""Bytes beyond the least that this process has held, from which what is free among them is given back."""

_LOOKS_BETWEEN = 20
"""Looks between two times: it takes milliseconds, for which other threads get no memory."""

_WORK_SECONDS = 0.02
"""Processor time between two times: a process that has done nothing since then has nothing more to give."""


_FRUITFUL, _LATEST = 1000, 640
"""Objects that a search for garbage has found for which the next one is made soon; and looks before it at most. The
time between is doubled each other time: a search takes 40 ms where 10,000 connections are open."""


def least_memory_bytes(max_body_bytes: int) -> int:
    """Give the memory that a front may need: 512 MiB with bodies of 32 MiB.

    Args:
        max_body_bytes: Largest body.
    """
    return (256 << 20) + 8 * max_body_bytes


def end_beyond(most: int) -> None:
    """Watch this process from now on, and end it at once where it holds more memory than it may.

    Args:
        most: Bytes that it may hold.
    """
    if resident_bytes() is not None:
        threading.Thread(target=MemoryWatch(most).run, name="memory limit", daemon=True).start()


class MemoryWatch:
    """What is done about the memory of this process.

    What it has taken for requests and has free again is given back to the operating system, from time to time. Before
    that, Python looks for garbage: a connection that has closed is in cycles, with what it has received, and on its own
    Python seldom looks (`rnnserve.web.commands.web`).
    """

    def __init__(
        self,
        most: int,
        *,
        held: Callable[[], int | None] = resident_bytes,
        work: Callable[[], float] = time.process_time,
        collect: Callable[[], int] = gc.collect,
        give_back: Callable[[], object] = give_back_free_memory,
        end: Callable[[int], object] = os._exit,  # nothing of what is left to do would be sure to succeed
    ) -> None:
        """Start with what it holds now.

        Args:
            most: Bytes that it may hold.
            held: Function that gives the bytes that it holds; None where they cannot be told.
            work: Function that gives the processor time that it has used, in seconds.
            collect: Function that frees what only cycles hold, and gives the number of objects.
            give_back: Function that gives back what is free.
            end: Function that ends it, with a status.
        """
        self._most = most
        self._held = held
        self._work = work
        self._collect = collect
        self._give_back = give_back
        self._end = end
        self._least = held() or 0
        self._looks = self._looks_since_search = 0
        self._between_searches = _LOOKS_BETWEEN
        self._worked = self._worked_until = 0.0

    def run(self) -> None:
        """Look until it holds more than it may."""
        pause = threading.Event()
        while self.look():
            pause.wait(self.pause())

    def pause(self) -> float:
        """Give the seconds until the next look: more where this process has done nothing since it was asked."""
        before, self._worked_until = self._worked_until, self._work()
        return _IDLE_SECONDS if self._worked_until - before < _IDLE_WORK_SECONDS else _LOOK_SECONDS

    def look(self) -> bool:
        """Look once: whether it holds no more than it may."""
        size = self._held() or 0
        if size > self._most:
            _log.critical(
                "this process for HTTP holds %d MB of memory, more than the %d MB of --max-memory-bytes: it ends at "
                "once",
                size >> 20,
                self._most >> 20,
            )
            self._end(_STATUS)
            return False
        self._least, self._looks = min(self._least, size), self._looks + 1
        self._looks_since_search += 1
        is_worth_it = size - self._least >= _WORTH_BYTES and self._work() - self._worked >= _WORK_SECONDS
        if is_worth_it and self._looks >= _LOOKS_BETWEEN:
            self._search()
            self._give_back()
            self._worked, self._looks = self._work(), 0
        return True

    def _search(self) -> None:
        """Look for garbage, unless that was done a short while ago and found little."""
        if self._looks_since_search < self._between_searches:
            return
        is_fruitful = self._collect() >= _FRUITFUL
        self._between_searches = _LOOKS_BETWEEN if is_fruitful else min(2 * self._between_searches, _LATEST)
        self._looks_since_search = 0
