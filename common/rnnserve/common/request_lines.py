"""Log lines about single requests: their fields, their format, and their rate limit.

They never contain a client's data: no values, no shapes, and no error texts, because these may repeat data. The only
part that a client chooses is its request id, of bounded size and in printable characters.
"""

import collections
import itertools
import json
import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping

__all__ = [
    "LOG_REQUESTS",
    "REQUESTS_LOGGER",
    "LineBudget",
    "log_request",
    "new_request_id",
    "trace_id_of",
    "usable_id",
]

LOG_REQUESTS = ("errors", "none", "all")
"""Which requests are logged. The first is the default."""

REQUESTS_LOGGER = "rnnserve.requests"

_BURST = 10
"""Lines in a row about single requests, for the same reason. Beyond it: one per second."""

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
