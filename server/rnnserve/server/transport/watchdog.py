"""One thread that looks at the pools now and then, as long as one of them has calls."""

import logging
import threading
from typing import Protocol

__all__ = ["Watchdog"]

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.05


class _Watched(Protocol):
    @property
    def has_calls(self) -> bool:
        """Whether there is something to look at."""

    def look(self) -> None:
        """Look at the calls. It waits for nothing."""


class Watchdog:
    """Looks at what has calls, every 50 ms: each look takes Python's lock from the lane.

    Attributes:
        has_come: To be set when a call has come.
    """

    def __init__(self) -> None:
        """Start without a thread."""
        self.has_come = threading.Event()
        self._watched: tuple[_Watched, ...] = ()
        self._lock = threading.Lock()
        self._is_closed = threading.Event()

    def watch(self, pool: _Watched) -> None:
        """Look at a pool, too, from now on; at the first one on a new thread."""
        with self._lock:
            self._watched += (pool,)
            if len(self._watched) == 1:
                threading.Thread(target=self._loop, name="watchdog", daemon=True).start()

    def leave(self, pool: _Watched) -> None:
        """Look at a pool no more; the thread ends with the last."""
        with self._lock:
            self._watched = tuple(one for one in self._watched if one is not pool)
            if not self._watched:
                self._is_closed.set()
                self.has_come.set()

    def _loop(self) -> None:
        while not self._is_closed.is_set():
            self.has_come.wait()
            self.has_come.clear()
            while any(pool.has_calls for pool in self._watched) and not self._is_closed.wait(_LOOK_SECONDS):
                for pool in self._watched:
                    if pool.has_calls:
                        self._look(pool)

    def _look(self, pool: _Watched) -> None:
        try:
            pool.look()
        except Exception as error:  # noqa: BLE001 - no descriptor to look with, or a defect: the next look may be better
            _log.error("calls whose messages do not arrive are not looked at: %s", error)
