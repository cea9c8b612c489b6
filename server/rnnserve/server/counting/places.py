"""The layout of a row of counts: the index of each number. All numbers are 8-byte floats.

Histograms are non-cumulative counts per bucket, plus a last bucket for values above all bounds.
"""

import hashlib
import re
from bisect import bisect_left
from collections.abc import Sequence

from rnnserve.server import errors
from rnnserve.server.errors import InternalError, ServeError

_FINE_BOUNDS = (50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3)
SECONDS_BOUNDS = (*_FINE_BOUNDS, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Upper bounds of the buckets of durations, in seconds."""

ROW_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Upper bounds of the buckets of a batch's rows."""

# Numbers of a version. The buckets of run durations also serve to count inference calls.
ANSWERED, HTTP_ANSWERED, REFUSED_AFTER_RUN, FAILED, DROPPED, ROWS, STEPS, PADDED_STEPS = range(8)
WAIT_SECONDS, RUN_SECONDS, REQUEST_RUN_SECONDS, FAILED_SECONDS, READY, QUEUED = range(8, 14)

# Numbers of the process.
HELD_BYTES, SEQUENCES, IN_FLIGHT, TLS_NOT_AFTER = range(14, 18)
EVICTED, LOADED, NOT_LOADED, RELOADED, NOT_RELOADED = range(18, 23)
TLS_RELOADED, TLS_NOT_RELOADED = range(23, 25)
TOKENS_READ, TOKENS_NOT_READ = range(25, 27)
WORKER_RESTARTS = {"died": 27, "hung": 28}
"""Number of workers that a supervisor has replaced, by reason."""

# Number of a token: the requests that it was accepted for.
TOKEN_REQUESTS = 29

GAUGES = (READY, QUEUED, HELD_BYTES, SEQUENCES, IN_FLIGHT, TLS_NOT_AFTER)
"""Numbers that describe the present. An ended process has none."""

_DURATION_PLACES = len(SECONDS_BOUNDS) + 1
ANSWER_BUCKETS = 30
WAIT_BUCKETS = ANSWER_BUCKETS + _DURATION_PLACES
RUN_BUCKETS = WAIT_BUCKETS + _DURATION_PLACES
ROW_BUCKETS = RUN_BUCKETS + _DURATION_PLACES
ROW_BUCKETS_END = ROW_BUCKETS + len(ROW_BOUNDS) + 1
REFUSED = ROW_BUCKETS_END
"""First place of the refusals by reason: first over gRPC, then over HTTP."""

_REASONS = tuple(
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, ServeError) and kind is not ServeError
)

REFUSALS = tuple((kind.status, re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()) for kind in _REASONS)
"""Status and reason of each refusal, in the order of their places."""

HTTP_REFUSED = REFUSED + len(REFUSALS)
PLACES = HTTP_REFUSED + len(REFUSALS)
"""Size of a row."""

LAYOUT = hashlib.sha256(repr((SECONDS_BOUNDS, ROW_BOUNDS, REFUSALS, PLACES)).encode()).digest()[:8]
"""Prefix of a table, so that no process misreads the table of another release."""

_PLACE_OF: dict[type, int] = {kind: REFUSED + index for index, kind in enumerate(_REASONS)}
ROW_BUCKET = tuple(ROW_BUCKETS + bisect_left(ROW_BOUNDS, rows) for rows in range(ROW_BOUNDS[-1] + 1))
"""The place of an inference call by its number of rows, up to the highest bound."""


def refusal_place(error: ServeError, *, is_http: bool = False) -> int:
    """Return the place that counts an error, or its nearest superclass with a place."""
    place = next(_PLACE_OF[kind] for kind in (*type(error).__mro__, InternalError) if kind in _PLACE_OF)
    return place + len(REFUSALS) if is_http else place


def refusals(counts: Sequence[float]) -> list[float]:
    """Return a row's refusals in the order of `REFUSALS`, summed over both protocols."""
    over = counts[REFUSED:HTTP_REFUSED], counts[HTTP_REFUSED:PLACES]
    return [grpc + http for grpc, http in zip(*over, strict=True)]


def runs(counts: Sequence[float]) -> float:
    """Return the number of inference calls of a row."""
    return sum(counts[RUN_BUCKETS:ROW_BUCKETS])


def is_settled(counts: Sequence[float]) -> bool:
    """Return whether all answered requests are fully counted. Most numbers are added after the responses were sent."""
    return counts[ANSWERED] == sum(counts[ANSWER_BUCKETS:WAIT_BUCKETS])
