"""Limit the rate of log lines, so that a peer can't fill the disk by causing a line with every request."""

import logging
import time
from collections.abc import Callable

from rnnserve.common.request_lines import REQUESTS_LOGGER

__all__ = ["LogLimits"]

_BURST = 20
"""Lines in a row of the log, from one source line. Beyond it: one per second, with the number of dropped lines."""

_MOST_KINDS = 1000
"""Source lines that are counted. With more, all counts start again."""

_LARGE_BURSTS = {"rnnserve.server.repository.loader": 1000}
"""Larger bursts, by logger. The loader logs one line for each rejected version at startup, which can be many."""


class LogLimits(logging.Filter):
    """Passes a burst of records from each source line, then one per second with the number of dropped records.

    The limit applies to a source line, whatever the texts of its messages. Records about single requests always pass,
    because `request_lines` already limits them.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._by_kind: dict[tuple[str, int], _Allowance] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log a record. The first record after dropped ones includes their number."""
        if record.name == REQUESTS_LOGGER:
            return True
        now, kind = self._clock(), (record.pathname, record.lineno)
        allowance = self._by_kind.get(kind)
        if allowance is None:
            if len(self._by_kind) >= _MOST_KINDS:
                self._by_kind.clear()
            allowance = self._by_kind[kind] = _Allowance(now, _LARGE_BURSTS.get(record.name, _BURST))
        if not allowance.take(now):
            return False
        if allowance.left_out:
            record.msg, record.args = f"{record.getMessage()} ({allowance.left_out:,} more like this left out)", ()
            allowance.left_out = 0
        return True


class _Allowance:
    """The current budget of one source line. `left_out` counts the records dropped since the last logged one."""

    def __init__(self, now: float, burst: int) -> None:
        self._burst = self._lines = float(burst)
        self._at = now
        self.left_out = 0

    def take(self, now: float) -> bool:
        """Count a record at time `now`, in seconds. Returns whether to log it."""
        self._lines = min(self._lines + now - self._at, self._burst)
        self._at = now
        if self._lines < 1:
            self.left_out += 1
            return False
        self._lines -= 1
        return True
