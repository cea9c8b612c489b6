"""Where each number is among those of a version: an index into its counts. All are floats of 8 bytes.

Histograms are counts by bucket, not cumulative, each with one place more, for what is above all bounds.
"""

import hashlib
import re
from bisect import bisect_left

from rnnserve.server.errors import (
    Cancelled,
    DeadlinePassed,
    HeadersTooLarge,
    InternalError,
    InvalidRequest,
    LoadFailed,
    NoMemory,
    NotFound,
    NotReady,
    QueueFull,
    SequenceInUse,
    ServeError,
    SessionEnded,
    ShuttingDown,
    TimeoutExpired,
    TooManyCalls,
    TooManySequences,
    TooManyStreams,
    TooMuchHeld,
    Unsupported,
    WaitTooLong,
)

__all__ = [
    "ANSWERED",
    "ANSWER_BUCKETS",
    "EVICTED",
    "FAILED_SECONDS",
    "HELD_BYTES",
    "LAYOUT",
    "LOADED",
    "NOT_LOADED",
    "PADDED_STEPS",
    "PLACES",
    "QUEUED",
    "READY",
    "REFUSALS",
    "REFUSED",
    "REFUSED_AFTER_RUN",
    "REQUEST_RUN_SECONDS",
    "ROWS",
    "ROW_BOUNDS",
    "ROW_BUCKET",
    "ROW_BUCKETS",
    "RUNS",
    "RUN_BUCKETS",
    "RUN_SECONDS",
    "SECONDS_BOUNDS",
    "SEQUENCES",
    "STEPS",
    "WAIT_BUCKETS",
    "WAIT_SECONDS",
    "refusal_place",
]

SECONDS_BOUNDS = (50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 0.1, 0.2, 0.5, 1, 2, 5, 10)
"""Upper bounds of the buckets of durations, in seconds."""

ROW_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Upper bounds of the buckets of a run's rows."""

# Of a version; `READY` and `QUEUED` are gauges.
ANSWERED, REFUSED_AFTER_RUN, ROWS, RUNS, STEPS, PADDED_STEPS = range(6)
WAIT_SECONDS, RUN_SECONDS, REQUEST_RUN_SECONDS, FAILED_SECONDS, READY, QUEUED = range(6, 12)

# Of the process, in its first row; the first two are gauges.
HELD_BYTES, SEQUENCES, EVICTED, LOADED, NOT_LOADED = range(12, 17)

_DURATION_PLACES = len(SECONDS_BOUNDS) + 1
ANSWER_BUCKETS = 17
WAIT_BUCKETS = ANSWER_BUCKETS + _DURATION_PLACES
RUN_BUCKETS = WAIT_BUCKETS + _DURATION_PLACES
ROW_BUCKETS = RUN_BUCKETS + _DURATION_PLACES
REFUSED = ROW_BUCKETS + len(ROW_BOUNDS) + 1
"""The first place of the refusals by reason."""

_REASONS: tuple[type[ServeError], ...] = (
    InternalError,
    InvalidRequest,
    NotFound,
    NotReady,
    LoadFailed,
    ShuttingDown,
    TimeoutExpired,
    QueueFull,
    TooManyCalls,
    HeadersTooLarge,
    WaitTooLong,
    TooMuchHeld,
    NoMemory,
    TooManyStreams,
    TooManySequences,
    SequenceInUse,
    DeadlinePassed,
    Cancelled,
    Unsupported,
    SessionEnded,
)

REFUSALS = tuple((kind.status, re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()) for kind in _REASONS)
"""Status and reason of each refusal, in the order of their places."""

PLACES = REFUSED + len(REFUSALS)
"""How many numbers a version has."""

LAYOUT = hashlib.sha256(repr((SECONDS_BOUNDS, ROW_BOUNDS, REFUSALS, PLACES)).encode()).digest()[:8]
"""What a table begins with, so that processes of two releases do not read one another's wrongly."""

_PLACE_OF: dict[type, int] = {kind: REFUSED + index for index, kind in enumerate(_REASONS)}
ROW_BUCKET = tuple(ROW_BUCKETS + bisect_left(ROW_BOUNDS, rows) for rows in range(ROW_BOUNDS[-1] + 1))
"""The place of a run's rows, as far as there are bounds; all others' is the one before `REFUSED`."""


def refusal_place(error: ServeError) -> int:
    """The place of an error's count; that of the nearest class above it, where it has none."""
    return next(_PLACE_OF[kind] for kind in (*type(error).__mro__, InternalError) if kind in _PLACE_OF)
