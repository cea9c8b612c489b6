"""Format log lines as text, or as JSON for log collectors, and limit their rate.

Both formats include the time zone. The limit keeps a peer from filling the disk by causing a line with every request.
"""

import datetime as dt
import json
import logging
import os
import time
from collections.abc import Callable

from rnnserve.common.request_lines import REQUESTS_LOGGER, LineBudget

__all__ = ["LOG_FORMATS", "LogLimits", "log_formatter"]

LOG_FORMATS = ("text", "json")

_BURST = 1000
"""Lines in a row of the log, from one source line. At the start, the loader logs one line for each rejected version.
Beyond it: one per second, with the number of dropped lines."""


def log_formatter(name: str, *, has_process: bool) -> logging.Formatter:
    """Return the formatter of a `LOG_FORMATS` entry. JSON always includes the process ID, text if `has_process`."""
    if name == "json":
        return _JsonFormatter()
    process = f" [{os.getpid()}]" if has_process else ""
    return _TextFormatter(f"%(asctime)s %(levelname)s{process} %(name)s: %(message)s")


def _time(record: logging.LogRecord, separator: str) -> str:
    """Return a record's time in the local time zone: 2026-11-27 12:00:00.123+01:00."""
    return dt.datetime.fromtimestamp(record.created).astimezone().isoformat(separator, "milliseconds")


class _TextFormatter(logging.Formatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802 - logging's name
        return _time(record, " ")


class _JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, process, logger, message, and the traceback if there is one.

    For a line about a request, the request's fields are entries of the object and not part of the message.
    """

    def format(self, record: logging.LogRecord) -> str:
        fields = getattr(record, "request_fields", {})
        of_request = "request refused" if record.levelno >= logging.WARNING else "request answered"
        line = {
            "time": _time(record, "T"),
            "level": record.levelname,
            "process": record.process,
            "logger": record.name,
            "message": of_request if fields else record.getMessage(),
            **fields,
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


class LogLimits(logging.Filter):
    """Passes a burst of records from each source line, then one per second with the number of dropped records.

    The limit applies to a source line, whatever the texts of its messages. Records about single requests always pass,
    because `request_lines` already limits them.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._budget = LineBudget(clock, _BURST)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log a record. The first record after dropped ones includes their number."""
        if record.name == REQUESTS_LOGGER:
            return True
        left_out = self._budget.take(f"{record.pathname}:{record.lineno}")
        if left_out:
            record.msg, record.args = f"{record.getMessage()} ({left_out:,} similar lines left out)", ()
        return left_out is not None
