"""The timestamps that a generator records for each request while it sends."""

from array import array
from dataclasses import dataclass, field

__all__ = ["DIFFERENT", "EQUAL", "INVALID_ANSWER", "NOT_COMPARED", "NOT_SENT", "OK", "RequestSamples"]

OK = 0
INVALID_ANSWER = -1
"""Used in place of a gRPC status: the call succeeded, but its answer lacks outputs for the requested rows."""
NOT_SENT = -2
"""Used in place of a gRPC status: the generator was so late that the request's timeout had passed before the send."""

NOT_COMPARED, EQUAL, DIFFERENT = 0, 1, 2
"""Whether an answer agrees with the golden answer to the same request."""


@dataclass
class RequestSamples:
    """One entry per request, in the order in which requests ended; times are nanoseconds of the generator's clock.

    The hot path only appends to arrays of machine integers, which is cheap. Statistics are computed from them after
    the load.

    Attributes:
        due: (requests,) int64, nanoseconds: the intended send time.
        sent: (requests,) int64, nanoseconds: the actual send time.
        done: (requests,) int64, nanoseconds: when the answer or the failure arrived.
        item: (requests,) int64: index of the request in the request pool.
        status: (requests,) int64: OK, INVALID_ANSWER, NOT_SENT or the number of a gRPC status.
        compared: (requests,) int8: NOT_COMPARED, EQUAL or DIFFERENT.
        logits: Raw FP32 logits (rows, classes=2) of the requests that are checked and succeeded, concatenated in the
            order of their entries.
        names: Name of each status number.
        details: The server's first message for each status number.
        begun: (begun requests,) int64, nanoseconds: the intended send times, in the order of the sends; also of
            requests that have not ended.
    """

    due: "array[int]" = field(default_factory=lambda: array("q"))
    sent: "array[int]" = field(default_factory=lambda: array("q"))
    done: "array[int]" = field(default_factory=lambda: array("q"))
    item: "array[int]" = field(default_factory=lambda: array("q"))
    status: "array[int]" = field(default_factory=lambda: array("q"))
    compared: "array[int]" = field(default_factory=lambda: array("b"))
    logits: bytearray = field(default_factory=bytearray)
    names: dict[int, str] = field(default_factory=lambda: {INVALID_ANSWER: "INVALID_ANSWER", NOT_SENT: "NOT_SENT"})
    details: dict[int, str] = field(default_factory=dict)
    begun: "array[int]" = field(default_factory=lambda: array("q"))
