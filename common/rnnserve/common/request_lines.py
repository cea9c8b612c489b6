"""Lines of the log about single requests: what they say, how they are written, and how many there may be.

They never have a client's data: no values, no shapes, no text of an error, which may repeat some. What a client has
chosen itself is its id, of bounded size and in printable characters.
"""

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
    "fields_of",
    "log_request",
    "new_request_id",
    "trace_id_of",
    "usable_id",
]

LOG_REQUESTS = ("errors", "none", "all")
"""Which requests have a line. The first is the default."""

REQUESTS_LOGGER = "rnnserve.requests"

_BURST = 10
"""Lines in a row about single requests, of one reason. Beyond it: one a second."""

_MOST_A_SECOND = 50
"""Lines a second about single requests, of all reasons. Beyond it: they are counted in the next line."""

_log = logging.getLogger(REQUESTS_LOGGER)

_ID = re.compile(r"[!-~]{1,128}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")

_PREFIX, _COUNT = secrets.token_hex(6), itertools.count(1)
"""An id of a request is unique: one random part a process, and a number."""


def new_request_id() -> str:
    """Make the id of a request that has none."""
    return f"{_PREFIX}-{next(_COUNT):x}"


def usable_id(text: str) -> str:
    """Give an id that a client has chosen, where it may stand in a line and in a header. Else nothing."""
    return text if _ID.fullmatch(text) else ""


def trace_id_of(traceparent: str) -> str:
    """Give the trace's id in a header of that name (W3C Trace Context). Empty where it is none."""
    found = _TRACEPARENT.fullmatch(traceparent)
    return found[1] if found else ""


def log_request(fields: Mapping[str, object], *, has_failed: bool, left_out: int = 0) -> None:
    """Write a line with the fields that are neither None nor empty.

    `left_out` is the number of lines of the same kind that were left out before it.
    """
    said = {name: value for name, value in fields.items() if value not in (None, "")}
    if left_out:
        said["left_out"] = left_out
    words = " ".join(f"{name}={_word(value)}" for name, value in said.items())
    _log.log(logging.WARNING if has_failed else logging.INFO, "%s", words, extra={"request_fields": said})


def fields_of(record: logging.LogRecord) -> Mapping[str, object]:
    """What a record says of a request, by name. Nothing where it is of none."""
    fields: Mapping[str, object] = getattr(record, "request_fields", {})
    return fields


def _word(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6f}"
    text = str(value)
    return text if _ID.fullmatch(text) and '"' not in text else json.dumps(text)


class LineBudget:
    """How many lines there may be: of each kind some in a row, then one a second, and so many of all. Any thread.

    Kinds are few: a status and a reason.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._of_kind: dict[str, tuple[float, float]] = {}  # lines that may be, and when that was so
        self._of_all = float(_MOST_A_SECOND), clock()
        self._left_out: dict[str, int] = {}

    def take(self, kind: str) -> int | None:
        """Count a line. Return how many of its kind were left out before it, or None if it must be left out, too."""
        with self._lock:
            now = self._clock()
            lines, at = self._of_kind.get(kind, (float(_BURST), now))
            lines = min(lines + now - at, _BURST)
            every, every_at = self._of_all
            every = min(every + _MOST_A_SECOND * (now - every_at), _MOST_A_SECOND)
            if lines < 1 or every < 1:
                self._of_kind[kind] = lines, now
                self._of_all = every, now
                self._left_out[kind] = self._left_out.get(kind, 0) + 1
                return None
            self._of_kind[kind] = lines - 1, now
            self._of_all = every - 1, now
            return self._left_out.pop(kind, 0)

    def left_out(self, kind: str) -> int:
        """How many lines of a kind were left out since this was asked, or a line was counted."""
        with self._lock:
            return self._left_out.pop(kind, 0)

    def leave_out(self, kind: str, count: int = 1) -> None:
        """Note lines that were left out for another reason."""
        with self._lock:
            self._left_out[kind] = self._left_out.get(kind, 0) + count
