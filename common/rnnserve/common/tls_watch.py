"""Reload the TLS files while the server runs. If new files are invalid, log an error and keep the old certificate."""

import datetime as dt
import logging
import threading
from collections.abc import Callable

from rnnserve.common.tls_identity import IdentityError, TlsFiles, TlsIdentity, read_identity

__all__ = ["SOON_SECONDS", "TlsWatch"]

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
"""Seconds between two checks. Reading the three files takes 25 microseconds, and validating new ones 2 ms."""

SOON_SECONDS = 14 * 86400.0
"""Seconds before a certificate's expiry from which on `rnnserve serve --check` warns."""


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
        refuse: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare, with the current identity `served`, which was read from `files`. `start` starts the checks.

        `use` is called with each new valid identity, and `refuse` when new files are refused.
        """
        self._files = files
        self._served = served
        self._use = use
        self._refuse = refuse
        self._refused: TlsIdentity | str | None = None
        self._refusals = 0  # of these files, one check after the other
        self._is_closed = threading.Event()

    def start(self) -> None:
        """Start the thread that checks the files."""
        threading.Thread(target=self._loop, name="certificates", daemon=True).start()

    def close(self) -> None:
        """Stop the thread."""
        self._is_closed.set()

    def look(self) -> None:
        """Check the files once: use new valid files, and log invalid ones."""
        found: TlsIdentity | None = None
        try:
            found = read_identity(self._files)
            if found == self._served:
                self._refused = None
                return
            found.context(self._files)  # also checks the client CAs
            flaw = found.flaw(self._files)
        except IdentityError as error:
            flaw = str(error)
        if found is None or flaw:
            self._refuse_files(found or flaw, flaw)
            return
        self._use(found)
        self._served, self._refused = found, None
        end = dt.datetime.fromtimestamp(found.end, dt.UTC).isoformat()
        _log.info("Loaded the new TLS files; the certificate expires at %s", end)

    def _refuse_files(self, found: TlsIdentity | str, flaw: str) -> None:
        """Log invalid files when two checks in a row have found them."""
        self._refusals = self._refusals + 1 if found == self._refused else 1
        self._refused = found
        if self._refusals == 2:
            self._refuse()
            _log.error("Rejected the new TLS files (%s); still serving the previous certificate", flaw)

    def _loop(self) -> None:
        while True:
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - out of memory or descriptors, or a bug: keep checking
                _log.warning("Cannot check the TLS files: %s", error)
            if self._is_closed.wait(_LOOK_SECONDS):
                return
