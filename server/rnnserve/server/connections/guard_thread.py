"""One thread for all guards of a server: each looks, one after the other, some twenty times a second.

Each look wakes the process, which the request notices that is answered meanwhile: with a thread for each guard, the
slowest hundredth of requests that came one at a time took 5 % longer.
"""

import logging
import threading
from collections.abc import Callable

from rnnserve.server.clock import now

__all__ = ["LOOK_SECONDS", "GuardThread"]

_log = logging.getLogger(__name__)

LOOK_SECONDS = 0.05
"""Seconds between two looks of a guard, beside what the looks take."""


class GuardThread:
    """Has guards look until it is closed."""

    def __init__(self, seconds: float = LOOK_SECONDS) -> None:
        """Start the thread, without a guard.

        Args:
            seconds: Seconds between two looks of a guard, beside what the looks take.
        """
        self._seconds = seconds
        self._looks: tuple[Callable[[float], None], ...] = ()
        self._is_closed = threading.Event()
        threading.Thread(target=self._loop, name="guards", daemon=True).start()

    def add(self, look: Callable[[float], None]) -> None:
        """Have a guard look, too, from now on.

        Args:
            look: A function that looks, and takes the time in seconds on the clock of `clock`.
        """
        self._looks += (look,)

    def close(self) -> None:
        """End the thread."""
        self._is_closed.set()

    def _loop(self) -> None:
        while not self._is_closed.wait(self._seconds):
            for look in self._looks:
                try:
                    look(now())
                except Exception as error:  # noqa: BLE001 - no descriptor to look with, or a defect: the others look on
                    _log.warning("a guard cannot look: %s", error)
