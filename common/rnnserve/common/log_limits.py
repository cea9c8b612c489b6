"""Limit the rate of log lines, so that a peer can't fill the disk by causing a line with every request."""

import logging
import time
from collections.abc import Callable

from rnnserve.common.request_lines import REQUESTS_LOGGER, LineBudget

__all__ = ["LogLimits"]

_BURST = 20
"""Lines in a row of the log, from one source line. Beyond it: one per second, with the number of dropped lines."""

_LARGE_BURSTS = {"rnnserve.server.repository.loader": 1000}
"""Larger bursts, by logger. The loader logs one line for each rejected version at startup, which can be many."""


class LogLimits(logging.Filter):
    """Passes a burst of records from each source line, then one per second with the number of dropped records.

    The limit applies to a source line, whatever the texts of its messages. Records about single requests always pass,
    because `request_lines` already limits them.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._budgets = {burst: LineBudget(clock, burst) for burst in (_BURST, *_LARGE_BURSTS.values())}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log a record. The first record after dropped ones includes their number."""
        if record.name == REQUESTS_LOGGER:
            return True
        budget = self._budgets[_LARGE_BURSTS.get(record.name, _BURST)]
        left_out = budget.take(f"{record.pathname}:{record.lineno}")
        if left_out:
            record.msg, record.args = f"{record.getMessage()} ({left_out:,} more like this left out)", ()
        return left_out is not None
