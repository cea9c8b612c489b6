"""Follows the files for TLS while they are served: what is good is taken, what is not is told, and changes nothing."""

import datetime as dt
import logging
import threading
import time
from collections.abc import Callable

from rnnserve.common.tls_identity import IdentityError, TlsFiles, TlsIdentity, read_identity

__all__ = ["SOON_SECONDS", "TlsWatch"]

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
"""Seconds between two looks. Reading the three files takes 25 microseconds, and judging new ones 2 ms."""

_DAY = 86400.0
SOON_SECONDS = 14 * _DAY
"""How long before its end a certificate is warned of."""


class TlsWatch:
    """Looks at the files once a second, on a thread of its own: a file system that hangs holds up nothing else.

    The bytes are compared, not dates of the files: links may be swapped, and files written twice in a moment. A pair
    is often written one file after the other, so that what does not fit is told only if it is still there at the next
    look.
    """

    def __init__(
        self,
        files: TlsFiles,
        served: TlsIdentity,
        use: Callable[[TlsIdentity], None],
        refuse: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Begin with the identity `served`, which was read from `files`; `start` begins to look.

        `use` serves a new identity from now on, `refuse` counts refused files, `clock` has seconds since the epoch.
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
        """Begin to look."""
        threading.Thread(target=self._loop, name="certificates", daemon=True).start()

    def close(self) -> None:
        """End the thread."""
        self._is_closed.set()

    def look(self) -> None:
        """Take what the files hold now if it is new and good, and say what there is to say."""
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
            found.context(self._files)  # the authorities of clients, too
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
        """Tell what is wrong with what was found, once it has been found twice, and then once a day."""
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
        """Warn of a flaw with which the server has started: it is told, and was served by releases before this one."""
        flaw = self._served.flaw(self._files)
        if flaw and not 0 < self._served.end <= self._clock():  # that is told in other words
            _log.warning("%s: clients refuse it", flaw)

    def _loop(self) -> None:
        self._judge_served()
        while True:
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - no memory or descriptor to look with, or a defect: it looks on
                _log.warning("the files for TLS cannot be looked at: %s", error)
            if self._is_closed.wait(_LOOK_SECONDS):
                return


def _date(end: float) -> str:
    return dt.datetime.fromtimestamp(end, dt.UTC).isoformat()
