"""How signals, or the end of its supervisor, end a server or a worker."""

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Callable

from rnnserve.common.unblocked_output import finish_output
from rnnserve.server.signals import SAME_SECONDS

__all__ = ["Ending", "before_end_at_once", "end_at_once"]

_log = logging.getLogger(__name__)

_CLEANUPS: list[Callable[[], None]] = []


class Ending:
    """How far the end of this server has been asked for.

    Attributes:
        told: Set once it is to end.
        is_loading: Whether nothing has been served yet, so that nothing is to be finished.
        drains: Whether it drains first: not if its supervisor has ended, since another one may be about to start.
        reload: Loads the repository again; None for a worker, and before there is a server.
    """

    def __init__(
        self,
        *,
        is_worker: bool = False,
        terminal_has_gone: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with nothing asked for.

        Args:
            is_worker: Whether a supervisor has started this process: it decides what a second signal means, and ends
                its workers itself. Whoever signals all processes of a service would end a worker at once otherwise.
            terminal_has_gone: A function that says, at SIGHUP, whether that is why it came.
            clock: Clock, in seconds.
        """
        self.drains = True
        self.told = threading.Event()
        self.is_loading = True
        self.reload: Callable[[], None] | None = None
        self._is_worker = is_worker
        self._terminal_has_gone = terminal_has_gone
        self._clock = clock
        self._asked_at = 0.0

    def take(self, number: signal.Signals) -> None:
        """Take a signal. On a thread of its own: the main thread loads, or waits for an event."""
        if number == signal.SIGUSR2:
            _log.warning("SIGUSR2 means nothing here, and changes nothing; SIGUSR1 shows what each thread does")
        elif number == signal.SIGHUP:
            if not self._is_worker:  # the supervisor replaces its workers
                self._hang_up()
        elif not self.told.is_set():
            self._asked_at = self._clock()
            if not self._is_worker:
                _log.info("%s: this server ends", number.name)
            self.stop()
        elif not self._is_worker and self._clock() - self._asked_at > SAME_SECONDS:
            _log.warning("a second signal: ends at once")
            end_at_once(128 + number)

    def abandon(self) -> None:
        """Stop without draining."""
        self.drains = False
        self.stop()

    def stop(self) -> None:
        """Stop: at once while models are loaded, however long that would take."""
        self.told.set()
        if self.is_loading:
            end_at_once(0)

    def _hang_up(self) -> None:
        if self._terminal_has_gone():
            _log.warning("SIGHUP: the terminal has gone, and this server ends; with nohup it would stay")
            self._asked_at = self._clock()
            self.stop()
        elif self.told.is_set():
            _log.info("SIGHUP: this server is stopping, and loads nothing")
        elif self.reload is None:
            _log.info("SIGHUP: the models are being loaded already")
        else:
            self.reload()


def before_end_at_once(clean_up: Callable[[], None]) -> None:
    """Have something done first where this process ends at once; it may not wait."""
    _CLEANUPS.append(clean_up)


def end_at_once(status: int) -> None:
    """End this process without waiting for its threads; what it has logged is written, if someone reads it."""
    for clean_up in _CLEANUPS:
        with contextlib.suppress(Exception):
            clean_up()
    finish_output()
    os._exit(status)
