"""Reload the TLS files while the server runs. If new files are invalid, log an error and keep the old certificate."""

import datetime as dt
import logging
import threading
import time
from collections.abc import Callable

from rnnserve.common.tls_identity import IdentityError, TlsFiles, TlsIdentity, read_identity

__all__ = ["SOON_SECONDS", "TlsWatch"]

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
"""Seconds between two checks. Reading the three files takes 25 microseconds, and validating new ones 2 ms."""

_DAY = 86400.0
SOON_SECONDS = 14 * _DAY
"""Seconds before a certificate's expiry from which on the log has a daily warning."""


class TlsWatch:
    """Checks the files once per second, on its own thread, so that a hanging file system blocks nothing else.

    It compares the files' bytes, not their dates, because links may be swapped and a file may be written twice within
    one tick of the clock. Certificate and key are often written one after the other. So files that don't match are
    reported only if the next check finds the same.
    """

    def __init__(
        self,
        files: TlsFiles,
        served: TlsIdentity,
        use: Callable[[TlsIdentity], None],
        refuse: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare, with the current identity `served`, which was read from `files`. `start` starts the checks.

        `use` is called with each new valid identity, and `refuse` when new files are refused. `clock` returns seconds
        since the epoch.
        """
        self._files = files
        self._served = served
        self._use = use
        self._refuse = refuse
        self._clock = clock
        self._refused: TlsIdentity | str | None = None
        self._told_at: float | None = None
        self._say_end_at = 0.0
        self._is_closed = threading.Event()

    def start(self) -> None:
        """Start the thread that checks the files."""
        threading.Thread(target=self._loop, name="certificates", daemon=True).start()

    def close(self) -> None:
        """Stop the thread."""
        self._is_closed.set()

    def look(self) -> None:
        """Check the files once: use new valid files, log invalid ones, and warn if the certificate expires soon."""
        try:
            found = read_identity(self._files)
        except IdentityError as error:
            self._tell(str(error), str(error))
        else:
            self._judge(found)
        self._say_end()

    def _judge(self, found: TlsIdentity) -> None:
        if found == self._served:
            self._refused = None
            return
        try:
            found.context(self._files)  # also checks the client CAs
            flaw = found.flaw(self._files)
        except IdentityError as error:
            flaw = str(error)
        if flaw:
            self._tell(found, flaw)
            return
        self._use(found)
        self._served, self._refused, self._say_end_at = found, None, 0.0
        _log.info("the files for TLS are new, and serve from now on: the certificate ends at %s", _date(found.end))

    def _tell(self, found: TlsIdentity | str, flaw: str) -> None:
        """Log invalid files when two checks in a row have found them, and then once per day."""
        now = self._clock()
        if found != self._refused:
            self._refused, self._told_at = found, None
            return
        if self._told_at is None:
            self._refuse()
        if self._told_at is None or now - self._told_at >= _DAY:
            self._told_at = now
            _log.error("%s: not taken; what was served before goes on until the files are good", flaw)

    def _say_end(self) -> None:
        now, end = self._clock(), self._served.end
        if not end or end - now > SOON_SECONDS or now < self._say_end_at:
            return
        self._say_end_at = now + _DAY
        if end <= now:
            _log.error(
                "the certificate of --tls-certificate has ended at %s: clients refuse it; write a new one and its key "
                "over the files, which are taken at once",
                _date(end),
            )
        else:
            _log.warning(
                "the certificate of --tls-certificate ends at %s, in %.1f days: write a new one and its key over the "
                "files, which are taken at once",
                _date(end),
                (end - now) / _DAY,
            )

    def _judge_served(self) -> None:
        """Warn if clients refuse the certificate of the start. That isn't an error: earlier releases served it."""
        flaw = self._served.flaw(self._files)
        if flaw and not 0 < self._served.end <= self._clock():  # _say_end already reports an expired certificate
            _log.warning("%s: clients refuse it", flaw)

    def _loop(self) -> None:
        self._judge_served()
        while True:
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - out of memory or descriptors, or a bug: keep checking
                _log.warning("the files for TLS cannot be looked at: %s", error)
            if self._is_closed.wait(_LOOK_SECONDS):
                return


def _date(end: float) -> str:
    return dt.datetime.fromtimestamp(end, dt.UTC).isoformat()
