"""Answers scrapes of /metrics: over a private socket for the HTTP gateway, and on another port.

A server without workers answers on a thread beside its requests, which waits for Python's lock behind them; with
workers, the supervisor answers, which serves no request itself.
"""

import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from rnnserve.server.access.gate import Gate

__all__ = ["MetricsEndpoint"]

_log = logging.getLogger(__name__)

_MOST_AT_ONCE, _PATIENCE_SECONDS = 16, 1.0
"""Scrapes that are answered at the same time, and seconds for which a further one waits before it is closed."""


class MetricsEndpoint:
    """Answers on sockets that listen."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        scrape: Callable[[str], tuple[bytes, str]],
        gate: Gate | None = None,
        while_answering: Callable[[], AbstractContextManager[object]] = threading.Lock,
    ) -> None:
        """Prepare.

        Args:
            listeners: The sockets; they are closed at the end.
            scrape: A function from a header Accept to the text and its type.
            gate: Gate that says which scrapers are answered; None for all of them.
            while_answering: Makes a context in which a scrape is answered.
        """
        self.gate = gate
        self.scrape = scrape
        self.while_answering = while_answering
        self._listeners = listeners
        self._wake, self._woken = socket.socketpair()
        self._places = threading.BoundedSemaphore(_MOST_AT_ONCE)
        self._thread = threading.Thread(target=self._accept, name="metrics", daemon=True)

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        self._wake.close()
        self._thread.join()
        for each in (*self._listeners, self._woken):
            each.close()

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            for each in (*self._listeners, self._woken):
                each.setblocking(False)
                selector.register(each, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._woken:
                        return
                    self._take(key.fileobj)  # type: ignore[arg-type]  # one of ours

    def _take(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:  # it has gone again, or there is no descriptor left
            time.sleep(0.01)
            return
        if not self._places.acquire(timeout=_PATIENCE_SECONDS):
            connection.close()
            return
        try:
            threading.Thread(target=self._answer, args=(connection,), name="scrape", daemon=True).start()
        except RuntimeError:  # there is no thread left
            self._places.release()
            connection.close()

    def _answer(self, connection: socket.socket) -> None:
        from rnnserve.server.counting.scrape import Scrape  # at the first scrape: its imports take 40 ms

        try:
            with connection:
                Scrape(connection, self)
        except OSError:
            pass  # the scraper has gone, or is too slow
        except Exception:  # noqa: BLE001 - further scrapes are to be answered
            _log.exception("a scrape of the metrics could not be answered")
        finally:
            self._places.release()
