"""The layout of a row of counts: the index of each number. All are floats of 8 bytes.

Histograms are counts by bucket, not cumulative, with one bucket more for what is above all bounds.
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
"""Upper bounds of the buckets of a run's rows."""

# Of a version. The buckets of the runs' durations also count the runs.
ANSWERED, HTTP_ANSWERED, REFUSED_AFTER_RUN, FAILED, DROPPED, ROWS, STEPS, PADDED_STEPS = range(8)
WAIT_SECONDS, RUN_SECONDS, REQUEST_RUN_SECONDS, FAILED_SECONDS, READY, QUEUED = range(8, 14)

# Of the process.
HELD_BYTES, SEQUENCES, IN_FLIGHT, TLS_NOT_AFTER = range(14, 18)
EVICTED, LOADED, NOT_LOADED, RELOADED, NOT_RELOADED, DRAINS, DRAIN_SECONDS = range(18, 25)
TLS_RELOADED, TLS_NOT_RELOADED = range(25, 27)
TOKENS_READ, TOKENS_NOT_READ = range(27, 29)
WORKER_RESTARTS = {"died": 29, "hung": 30}
"""Workers that a supervisor has replaced, by reason."""

# Of a token: the requests that were let in.
TOKEN_REQUESTS = 31

GAUGES = (READY, QUEUED, HELD_BYTES, SEQUENCES, IN_FLIGHT, TLS_NOT_AFTER)
"""Numbers that say what is true now: a process that has ended has none of them."""

_DURATION_PLACES = len(SECONDS_BOUNDS) + 1
ANSWER_BUCKETS = 32
WAIT_BUCKETS = ANSWER_BUCKETS + _DURATION_PLACES
RUN_BUCKETS = WAIT_BUCKETS + _DURATION_PLACES
ROW_BUCKETS = RUN_BUCKETS + _DURATION_PLACES
ROW_BUCKETS_END = ROW_BUCKETS + len(ROW_BOUNDS) + 1
REFUSED = ROW_BUCKETS_END
"""The first place of the refusals by reason: those over gRPC, and then those over HTTP."""

_REASONS = tuple(
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, ServeError) and kind is not ServeError
)

REFUSALS = tuple((kind.status, re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()) for kind in _REASONS)
"""Status and reason of each refusal, in the order of their places."""

HTTP_REFUSED = REFUSED + len(REFUSALS)
PLACES = HTTP_REFUSED + len(REFUSALS)
"""How many numbers a row has."""

LAYOUT = hashlib.sha256(repr((SECONDS_BOUNDS, ROW_BOUNDS, REFUSALS, PLACES)).encode()).digest()[:8]
"""What a table begins with, so that no process misreads the table of another release."""

_PLACE_OF: dict[type, int] = {kind: REFUSED + index for index, kind in enumerate(_REASONS)}
ROW_BUCKET = tuple(ROW_BUCKETS + bisect_left(ROW_BOUNDS, rows) for rows in range(ROW_BOUNDS[-1] + 1))
"""The place of a run by its rows, up to the highest bound."""


def refusal_place(error: ServeError, *, is_http: bool = False) -> int:
    """The place of an error's count, or that of the nearest class above it."""
    place = next(_PLACE_OF[kind] for kind in (*type(error).__mro__, InternalError) if kind in _PLACE_OF)
    return place + len(REFUSALS) if is_http else place


def refusals(counts: Sequence[float]) -> list[float]:
    """The refusals of a row in the order of `REFUSALS`, over both protocols."""
    over = counts[REFUSED:HTTP_REFUSED], counts[HTTP_REFUSED:PLACES]
    return [grpc + http for grpc, http in zip(*over, strict=True)]


def runs(counts: Sequence[float]) -> float:
    """The runs of a row."""
    return sum(counts[RUN_BUCKETS:ROW_BUCKETS])


def is_settled(counts: Sequence[float]) -> bool:
    """Whether all is counted of the requests that have been answered: most of it is after the answers were sent."""
    return counts[ANSWERED] == sum(counts[ANSWER_BUCKETS:WAIT_BUCKETS])
