"""What a generator notes of each request while it sends, and the sums made of it afterwards."""

from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rnnserve.client.load.histogram import Histogram
from rnnserve.client.load.walks import UNKNOWN
from rnnserve.client.load.workload import Pool

__all__ = ["INVALID_ANSWER", "NOT_SENT", "OK", "Samples", "Tally", "tally"]

OK = 0
INVALID_ANSWER = -1
"""In place of a status: the call succeeded, but its answer has no logits for the rows that were asked."""
NOT_SENT = -2
"""In place of a status: the generator was so late that the request had run out of time before it could be sent."""

_DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"


@dataclass
class Samples:
    """One entry for each request that was sent, in the order in which they ended; times are the clock's nanoseconds.

    Appending to arrays of machine integers is what the hot path can afford; everything else is worked out from them
    when it is over.

    Attributes:
        due: When each was to be sent.
        sent: When it was.
        done: When its answer, or its failure, was there.
        item: Its index in the pool.
        status: OK, INVALID_ANSWER, NOT_SENT or the number of a gRPC status.
        logits: Raw FP32 logits of the requests that are checked and succeeded, one after the other.
        names: By number, what the statuses are called.
        details: By number, what the server said the first time.
    """

    due: "array[int]" = field(default_factory=lambda: array("q"))
    sent: "array[int]" = field(default_factory=lambda: array("q"))
    done: "array[int]" = field(default_factory=lambda: array("q"))
    item: "array[int]" = field(default_factory=lambda: array("q"))
    status: "array[int]" = field(default_factory=lambda: array("q"))
    logits: bytearray = field(default_factory=bytearray)
    names: dict[int, str] = field(default_factory=lambda: {INVALID_ANSWER: "INVALID_ANSWER", NOT_SENT: "NOT_SENT"})
    details: dict[int, str] = field(default_factory=dict)


@dataclass
class Tally:
    """Sums over the requests that were to be sent after the warm-up.

    Attributes:
        sent: Requests.
        answered: Those that succeeded; wrong labels are answers too.
        in_time: Answers that came before the measured time was over: divided by it, they are the throughput.
        rows: Sequences in the requests that succeeded.
        errors: How many failed, by gRPC status.
        details: By gRPC status, what the server said the first time.
        checked: Rows whose label was compared with the expected one.
        wrong: Those that had another.
        latency: From the intended send to the answer, of requests that succeeded or ran out of time: leaving the latter
            out would make a server look better the slower it is.
        latency_of: The same by model.
        lag: From the intended to the actual send, of all requests: what the generator itself adds.
        cpu: Of each generator, the share of one core that it kept busy.
    """

    sent: int = 0
    answered: int = 0
    in_time: int = 0
    rows: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    details: dict[str, str] = field(default_factory=dict)
    checked: int = 0
    wrong: int = 0
    latency: Histogram = field(default_factory=Histogram)
    latency_of: dict[str, Histogram] = field(default_factory=dict)
    lag: Histogram = field(default_factory=Histogram)
    cpu: list[float] = field(default_factory=list)

    @classmethod
    def merged(cls, parts: Iterable["Tally"]) -> "Tally":
        """Return the sum over several generators."""
        result = cls()
        for part in parts:
            result.sent += part.sent
            result.answered += part.answered
            result.in_time += part.in_time
            result.rows += part.rows
            result.errors.update(part.errors)
            result.details = {**part.details, **result.details}
            result.checked += part.checked
            result.wrong += part.wrong
            result.latency.merge(part.latency)
            for model, histogram in part.latency_of.items():
                result.latency_of.setdefault(model, Histogram()).merge(histogram)
            result.lag.merge(part.lag)
            result.cpu += part.cpu
        return result


def tally(samples: Samples, pool: Pool, *, begin: int, end: int) -> Tally:
    """Sum up what one generator noted.

    Args:
        samples: Its notes.
        pool: What it sent.
        begin: When the measured time began, by the same clock: what was due before was warm-up.
        end: When it was over.
    """
    due, sent, done, item, status = (
        np.array(numbers, np.int64)
        for numbers in (samples.due, samples.sent, samples.done, samples.item, samples.status)
    )
    measured = due >= begin
    right = measured & (status == OK)
    result = Tally(sent=int(measured.sum()), answered=int(right.sum()))
    result.in_time = int((right & (done <= end)).sum())
    result.rows = int(pool.rows[item[right]].sum())
    for number, count in Counter(status[measured & (status != OK)].tolist()).items():
        result.errors[samples.names[number]] = count
        result.details[samples.names[number]] = samples.details.get(number, "")
    late = [number for number, name in samples.names.items() if name == _DEADLINE_EXCEEDED]
    timed = right | (measured & np.isin(status, late))
    result.latency.record((done - due)[timed])
    for index, model in enumerate(pool.models):
        asked = timed & (pool.model[item] == index)
        if asked.any():
            result.latency_of[model] = Histogram()
            result.latency_of[model].record((done - due)[asked])
    result.lag.record((sent - due)[measured])
    result.checked, result.wrong = _compare(samples, pool, item, status == OK, measured)
    return result


def _compare(
    samples: Samples,
    pool: Pool,
    item: npt.NDArray[np.int64],
    right: npt.NDArray[np.bool_],
    measured: npt.NDArray[np.bool_],
) -> tuple[int, int]:
    """Return how many rows of the measured answers were checked, and how many of those had another label."""
    checked = np.array([expected is not None for expected in pool.expected])
    order = np.flatnonzero(right & checked[item])
    classes = [expected for index in item[order].tolist() if (expected := pool.expected[index]) is not None]
    if not classes:
        return 0, 0
    found = np.frombuffer(samples.logits, "<f4").reshape(-1, 2).argmax(axis=1)  # (all rows,)
    expected = np.concatenate(classes)
    counts = np.repeat(measured[order], pool.rows[item[order]]) & (expected != UNKNOWN)
    return int(counts.sum()), int((found != expected)[counts].sum())
