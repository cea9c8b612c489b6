"""Format log lines as text, or as JSON for log collectors. Both include the time zone."""

import datetime as dt
import json
import logging
import os

from rnnserve.common.request_lines import fields_of

__all__ = ["LOG_FORMATS", "log_formatter"]

LOG_FORMATS = ("text", "json")


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
        fields = fields_of(record)
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
