"""Lines of the log: their format as text, or as JSON for log collectors, and their rate limits.

The limits keep a peer from filling the disk by causing a line with every request. Lines about single requests never
contain a client's data: no values, no shapes, and no error texts, because these may repeat data. The only part that a
client chooses is its request id, of bounded size and in printable characters.
"""

import collections
import datetime as dt
import itertools
import json
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping

__all__ = [
    "LOG_FORMATS",
    "LOG_REQUESTS",
    "REQUESTS_LOGGER",
    "LineBudget",
    "LogLimits",
    "log_formatter",
    "log_request",
    "new_request_id",
    "trace_id_of",
    "usable_id",
]

LOG_FORMATS = ("text", "json")

LOG_REQUESTS = ("errors", "none", "all")
"""Which requests are logged. The first is the default."""

REQUESTS_LOGGER = "rnnserve.requests"

_BURST = 10
"""Lines in a row about single requests, for the same reason. Beyond it: one per second."""

_BURST_OF_SOURCE_LINE = 1000
"""Lines in a row from one source line, such as one for each rejected version. Beyond it: one per second."""

_log = logging.getLogger(REQUESTS_LOGGER)

_ID = re.compile(r"[!-~]{1,128}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")

_PREFIX, _COUNT = secrets.token_hex(6), itertools.count(1)
"""The parts of a unique request id: a random part for each process, and a number."""


def new_request_id() -> str:
    """Return a new id for a request that has none."""
    return f"{_PREFIX}-{next(_COUNT):x}"


def usable_id(text: str) -> str:
    """Return an id that a client chose if it is safe in a log line and a header, else an empty text."""
    return text if _ID.fullmatch(text) else ""


def trace_id_of(traceparent: str) -> str:
    """Return the trace id in a `traceparent` header (W3C Trace Context), or an empty text if the header is invalid."""
    found = _TRACEPARENT.fullmatch(traceparent)
    return found[1] if found else ""


def log_request(fields: Mapping[str, object], *, has_failed: bool, left_out: int = 0) -> None:
    """Log a line with all fields except None and empty ones.

    `left_out` is the number of dropped lines of the same kind before it.
    """
    said = {name: value for name, value in fields.items() if value not in (None, "")}
    if left_out:
        said["left_out"] = left_out
    words = " ".join(f"{name}={_word(value)}" for name, value in said.items())
    _log.log(logging.WARNING if has_failed else logging.INFO, "%s", words, extra={"request_fields": said})


def _word(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6f}"
    text = str(value)
    return text if _ID.fullmatch(text) and '"' not in text else json.dumps(text)


class LineBudget:
    """A rate limit: for each kind a burst of lines, then one per second. Thread-safe.

    There must be few kinds: a status with a reason, or a source line.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, burst: int = _BURST) -> None:
        self._clock, self._burst = clock, float(burst)
        self._lock = threading.Lock()
        self._of_kind: dict[str, tuple[float, float]] = {}  # remaining lines, and the time of that figure
        self._left_out: collections.Counter[str] = collections.Counter()

    def take(self, kind: str) -> int | None:
        """Count a line. Returns how many of its kind were dropped before it, or None if this one must be dropped."""
        with self._lock:
            now = self._clock()
            lines, at = self._of_kind.get(kind, (self._burst, now))
            lines = min(lines + now - at, self._burst)
            has_line = lines >= 1
            self._of_kind[kind] = lines - has_line, now
            if has_line:
                return self._left_out.pop(kind, 0)
            self._left_out[kind] += 1
            return None

    def left_out(self, kind: str) -> int:
        """Return how many lines of a kind were dropped since the last call or the last logged line."""
        with self._lock:
            return self._left_out.pop(kind, 0)

    def leave_out(self, kind: str, count: int = 1) -> None:
        """Count lines dropped for another reason."""
        with self._lock:
            self._left_out[kind] += count


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
    because they have their own limit.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._budget = LineBudget(clock, _BURST_OF_SOURCE_LINE)

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log a record. The first record after dropped ones includes their number."""
        if record.name == REQUESTS_LOGGER:
            return True
        left_out = self._budget.take(f"{record.pathname}:{record.lineno}")
        if left_out:
            record.msg, record.args = f"{record.getMessage()} ({left_out:,} similar lines left out)", ()
        return left_out is not None
