"""Statistics of one load level, computed from the samples of each generator and summed over generators."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rnnserve.load.histogram import Histogram
from rnnserve.load.labelled_walks import UNKNOWN_CLASS
from rnnserve.load.latency_counts import LatencyCounts, count_latencies, empty_counts
from rnnserve.load.samples import DIFFERENT, NOT_COMPARED, OK, RequestSamples
from rnnserve.load.workload import RequestPool

__all__ = ["PARTS", "LoadStatistics", "summarize_samples"]

PARTS = 8
"""Equal parts of the measured time, whose figures show how much figures vary."""

_DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"


@dataclass
class LoadStatistics:
    """Sums over the requests whose intended send time was after the warm-up.

    Attributes:
        sent: Number of requests.
        answered: Requests that succeeded; a wrong answer counts as answered.
        in_time: Answers that arrived before the measured time ended; divided by that time, this is the throughput.
        rows: Sequences in the requests that succeeded.
        errors: Number of failed requests, by gRPC status.
        details: The server's first message, by gRPC status.
        checked: Rows whose label was compared with the expected label.
        wrong: Checked rows with a different label.
        compared: Rows whose answer was compared with the golden answer to the same request.
        different: Compared rows of answers that do not agree with it.
        latency: Nanoseconds from the intended send to the answer, of requests that succeeded or timed out. Without the
            timed-out requests, a server would look better the slower it is.
        latency_of: The same, by model.
        lag: Nanoseconds from the intended to the actual send, of all requests: the delay that the generator adds.
        cpu: For each generator, the fraction of one core that it used.
        counts: Requests over each limit of the objective.
        part_latency: The latency, by part of the measured time in which requests were due.
        part_answers: (parts,) int64, answers that arrived in each part of the measured time.
    """

    sent: int = 0
    answered: int = 0
    in_time: int = 0
    rows: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    details: dict[str, str] = field(default_factory=dict)
    checked: int = 0
    wrong: int = 0
    compared: int = 0
    different: int = 0
    latency: Histogram = field(default_factory=Histogram)
    latency_of: dict[str, Histogram] = field(default_factory=dict)
    lag: Histogram = field(default_factory=Histogram)
    cpu: list[float] = field(default_factory=list)
    counts: LatencyCounts = field(default_factory=lambda: empty_counts(0))
    part_latency: list[Histogram] = field(default_factory=lambda: [Histogram() for _ in range(PARTS)])
    part_answers: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(PARTS, np.int64))

    @property
    def failed(self) -> int:
        """Number of failed requests."""
        return sum(self.errors.values())

    @property
    def faults(self) -> int:
        """Number of rows that were answered wrongly, whichever way they were checked."""
        return self.wrong + self.different

    @classmethod
    def merged(cls, parts: Iterable["LoadStatistics"]) -> "LoadStatistics":
        """Return the sum over several generators, which ran at the same time and counted for the same limits."""
        result = cls()
        for part in parts:
            result.counts = part.counts if not result.sent else result.counts + part.counts
            result.sent += part.sent
            result.answered += part.answered
            result.in_time += part.in_time
            result.rows += part.rows
            result.errors.update(part.errors)
            result.details = {**part.details, **result.details}
            result.checked += part.checked
            result.wrong += part.wrong
            result.compared += part.compared
            result.different += part.different
            result.latency.merge(part.latency)
            for model, histogram in part.latency_of.items():
                result.latency_of.setdefault(model, Histogram()).merge(histogram)
            result.lag.merge(part.lag)
            result.cpu += part.cpu
            for whole, histogram in zip(result.part_latency, part.part_latency, strict=True):
                whole.merge(histogram)
            result.part_answers = result.part_answers + part.part_answers
        return result


def summarize_samples(
    samples: RequestSamples, pool: RequestPool, *, begin: int, end: int, limits: Sequence[int] = ()
) -> LoadStatistics:
    """Compute the statistics of one generator.

    Args:
        samples: The generator's samples.
        pool: The requests that it sent.
        begin: Start of the measured time, nanoseconds of the samples' clock; requests due earlier are warm-up.
        end: End of the measured time, nanoseconds of the same clock; requests due later are left out.
        limits: Limits of the objective, nanoseconds.
    """
    due, sent, done, item, status, compared = (
        np.array(numbers, np.int64)  # (requests,)
        for numbers in (samples.due, samples.sent, samples.done, samples.item, samples.status, samples.compared)
    )
    measured = (due >= begin) & (due <= end)  # (requests,) bool, like the masks below
    succeeded = measured & (status == OK)
    result = LoadStatistics(sent=int(measured.sum()), answered=int(succeeded.sum()))
    result.in_time = int((succeeded & (done <= end)).sum())
    result.rows = int(pool.rows[item[succeeded]].sum())
    for number, count in Counter(status[measured & (status != OK)].tolist()).items():
        result.errors[samples.names[number]] = count
        result.details[samples.names[number]] = samples.details.get(number, "")
    timeout_numbers = [number for number, name in samples.names.items() if name == _DEADLINE_EXCEEDED]
    timed = succeeded | (measured & np.isin(status, timeout_numbers))
    result.latency.record((done - due)[timed])
    for index, model in enumerate(pool.models):
        of_model = timed & (pool.model[item] == index)
        if of_model.any():
            result.latency_of[model] = Histogram()
            result.latency_of[model].record((done - due)[of_model])
    result.lag.record((sent - due)[measured])
    result.counts = count_latencies(
        limits, due[measured], sent[measured], done[measured], succeeded[measured], begin=begin, end=end
    )
    in_time, length = succeeded & (done <= end), max(1, end - begin)
    result.part_answers = np.bincount(_part_of(done[in_time] - begin, length), minlength=PARTS).astype(np.int64)
    for index, histogram in enumerate(result.part_latency):
        in_part = timed & (_part_of(due - begin, length) == index)
        histogram.record((done - due)[in_part])
    result.checked, result.wrong = _compare_labels(samples, pool, item, status == OK, measured)
    result.compared = int(pool.rows[item[measured & (compared != NOT_COMPARED)]].sum())
    result.different = int(pool.rows[item[measured & (compared == DIFFERENT)]].sum())
    return result


def _part_of(times: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
    """Return the part of the measured time, (times,) int64, of nanoseconds from its begin; `length` is that of all."""
    parts: npt.NDArray[np.int64] = np.clip(times * PARTS // length, 0, PARTS - 1)
    return parts


def _compare_labels(
    samples: RequestSamples,
    pool: RequestPool,
    item: npt.NDArray[np.int64],
    succeeded: npt.NDArray[np.bool_],
    measured: npt.NDArray[np.bool_],
) -> tuple[int, int]:
    """Return how many rows of the measured answers were checked, and how many of them had a wrong label.

    Args:
        samples: The generator's samples; `logits` holds the rows of all checked answers, warm-up included.
        pool: The requests that it sent.
        item: (requests,) int64, indices into the pool.
        succeeded: (requests,) bool, warm-up included.
        measured: (requests,) bool, False for warm-up.
    """
    has_labels = np.array([expected is not None for expected in pool.expected])  # (pool size,) bool
    order = np.flatnonzero(succeeded & has_labels[item])  # (checked requests,), in the order of their logits
    classes = [expected for index in item[order].tolist() if (expected := pool.expected[index]) is not None]
    if not classes:
        return 0, 0
    found = np.frombuffer(samples.logits, "<f4").reshape(-1, 2).argmax(axis=1)  # (rows,)
    expected = np.concatenate(classes)  # (rows,)
    counted = np.repeat(measured[order], pool.rows[item[order]]) & (expected != UNKNOWN_CLASS)  # (rows,) bool
    return int(counted.sum()), int((found != expected)[counted].sum())
