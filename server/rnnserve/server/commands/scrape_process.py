"""Starts the process that answers scrapes of a server without workers, at the first scrape, and keeps it running."""

import logging
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

from rnnserve.common.front_counts import FrontCounts
from rnnserve.server.counting.table import used_table
from rnnserve.server.process.resources import why_no_resource

__all__ = ["ScrapeProcess"]

_log = logging.getLogger(__name__)

_GAUGE_SECONDS = 1.0
"""Seconds between two looks at what is true now, while there is such a process."""

_AGAIN_SECONDS = 1.0
"""Seconds before another process is started where one could not be, or has ended at once."""


class ScrapeProcess:
    """Waits for a scraper: a server that is not scraped has one sleeping thread for it, and nothing else."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        options: Sequence[str],
        fronts: Sequence[FrontCounts],
        count_gauges: Callable[[], None],
    ) -> None:
        """Prepare.

        Args:
            listeners: The sockets on which scrapers connect; they are closed at the end.
            options: Options of the process.
            fronts: Numbers of the HTTP fronts.
            count_gauges: A function that writes down what is true now.
        """
        self._listeners = listeners
        self._options = options
        self._fronts = fronts
        self._count_gauges = count_gauges
        self._wake, self._woken = socket.socketpair()
        self._is_told_to_stop = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep, name="metrics", daemon=True)

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        self._is_told_to_stop.set()
        self._wake.close()
        process = self._process
        if process is not None:
            process.kill()  # it has nothing to finish
        self._thread.join()
        for each in (*self._listeners, self._woken):
            each.close()

    def _keep(self) -> None:
        """Run one process after another, each from the first scraper on. It ends with this thread, by the kernel."""
        with selectors.DefaultSelector() as selector:
            for each in (*self._listeners, self._woken):
                each.setblocking(False)
                selector.register(each, selectors.EVENT_READ)
            while not self._is_told_to_stop.is_set():
                selector.select()
                if self._is_told_to_stop.is_set():
                    return
                began = time.monotonic()
                try:
                    self._run()
                except OSError as error:
                    _log.error("no process for metrics can be started: %s", why_no_resource(error))
                self._is_told_to_stop.wait(max(0.0, began + _AGAIN_SECONDS - time.monotonic()))

    def _run(self) -> None:
        """Run a process to its end."""
        self._count_gauges()
        ours, its = os.pipe()
        try:
            fds = [listener.fileno() for listener in self._listeners]
            fronts = [front.descriptor for front in self._fronts]
            table = used_table().descriptor
            command = [sys.executable, "-m", "rnnserve.server.counting.scraper", f"--table-fd={table}"]
            command += [f"--lifeline-fd={ours}", *[f"--listen-fd={fd}" for fd in fds], *self._options]
            command += [f"--front-fd={fd}" for fd in fronts]
            self._process = process = subprocess.Popen(  # noqa: S603 - our own command line
                command, pass_fds=(ours, table, *fds, *fronts), start_new_session=True, stdin=subprocess.DEVNULL
            )
            if self._is_told_to_stop.is_set():
                process.kill()
            while True:
                try:
                    status = process.wait(_GAUGE_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    self._count_gauges()
            if not self._is_told_to_stop.is_set():
                _log.error("the process for metrics has ended with status %d: the next scrape starts another", status)
        finally:
            os.close(ours)
            os.close(its)
