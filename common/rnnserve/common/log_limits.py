"""A limit on how fast the log grows: a peer that provokes a line with every request must not fill the disk."""

import logging
import time
from collections.abc import Callable

from rnnserve.common.request_lines import REQUESTS_LOGGER

__all__ = ["LogLimits"]

_BURST = 20
"""Lines in a row of the log, from one place of the program. Beyond it: one a second, which says how many were left
out."""

_MOST_KINDS = 1000
"""Kinds that are counted. Beyond it, counting begins again."""

_LARGE_BURSTS = {"rnnserve.server.repository.loader": 1000}
"""Lines in a row by logger, where more are usual: at a start, each version that stays out has one."""


class LogLimits(logging.Filter):
    """Lets so many records of one kind through, then one a second, which says how many were left out before it.

    Records are of one kind that come from the same line of the program, whatever they say. Those of single requests
    pass: there are no more of them than `request_lines` lets be.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._by_kind: dict[tuple[str, int], _Allowance] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a record is logged. A record after some that were not says how many."""
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
    """How many records of a kind may be logged now; `left_out` counts those since the last one that was logged."""

    def __init__(self, now: float, burst: int) -> None:
        self._burst = self._lines = float(burst)
        self._at = now
        self.left_out = 0

    def take(self, now: float) -> bool:
        """Count a record at a time in seconds. Return whether it may be logged."""
        self._lines = min(self._lines + now - self._at, self._burst)
        self._at = now
        if self._lines < 1:
            self.left_out += 1
            return False
        self._lines -= 1
        return True
