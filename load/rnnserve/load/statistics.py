"""Statistics of one load level, from the samples of its generators."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from rnnserve.load.generator import RequestSamples, Status
from rnnserve.load.workload import RequestPool

__all__ = ["Durations", "LoadStatistics", "summarize_samples"]


def _nothing() -> npt.NDArray[np.int64]:
    return np.empty(0, np.int64)


class Durations:
    """Durations in ascending order, (count,) int64 nanoseconds, and their figures, which are 0 without durations."""

    def __init__(self, values: npt.NDArray[np.int64]) -> None:
        self.values = np.sort(values)
        self.count = len(values)
        self.min = int(self.values[0]) if self.count else 0
        self.max = int(self.values[-1]) if self.count else 0
        self.mean = float(values.mean()) if self.count else 0.0
        self.deviation = float(values.std()) if self.count else 0.0

    def percentile(self, percent: float) -> int:
        """Return the smallest of the durations that at least `percent` percent of them do not exceed."""
        rank = max(1, int(np.ceil(percent / 100 * self.count - 1e-9)))
        return int(self.values[rank - 1]) if self.count else 0

    def buckets(self) -> list[tuple[int, int]]:
        """Return (largest duration, count) of each bucket, at most a thousandth of its durations wide."""
        shift = np.maximum(np.frexp(self.values.astype(np.float64))[1] - 11, 0).astype(np.int64)
        ends, counts = np.unique((((self.values >> shift) + 1) << shift) - 1, return_counts=True)
        return list(zip(ends.tolist(), counts.tolist(), strict=True))


@dataclass
class LoadStatistics:
    """Figures of the requests that were due after the warm-up."""

    latency: npt.NDArray[np.int64] = field(default_factory=_nothing)  # (requests,) ns from the intended send to the end
    lag: npt.NDArray[np.int64] = field(default_factory=_nothing)  # (requests,) ns from the intended to the actual send
    model: npt.NDArray[np.int64] = field(default_factory=_nothing)  # (requests,) index of the model
    status: npt.NDArray[np.int64] = field(default_factory=_nothing)  # (requests,) see `Status`
    in_time: int = 0  # answers within the measured time, for the throughput
    rows: int = 0  # rows in the requests that succeeded
    errors: Counter[str] = field(default_factory=Counter)  # failed requests, by gRPC status
    details: dict[str, str] = field(default_factory=dict)  # the server's first message, by gRPC status
    compared: int = 0  # rows whose answer was compared with a reference
    different: int = 0  # compared rows whose answer differed
    cpu: list[float] = field(default_factory=list)  # fraction of one core that each generator used

    @classmethod
    def merged(cls, parts: Iterable["LoadStatistics"]) -> "LoadStatistics":
        """Return the sum over several generators or runs."""
        each = list(parts)
        result = cls()
        for name in ("latency", "lag", "model", "status"):
            setattr(result, name, np.concatenate([getattr(part, name) for part in each]))
        for part in each:
            for name in ("in_time", "rows", "compared", "different"):
                setattr(result, name, getattr(result, name) + getattr(part, name))
            result.errors.update(part.errors)
            result.details = {**part.details, **result.details}
            result.cpu += part.cpu
        return result

    @property
    def sent(self) -> int:
        """Number of requests."""
        return len(self.status)

    @property
    def answered(self) -> int:
        """Number of requests that succeeded, whether their answers were right or wrong."""
        return int((self.status == Status.OK).sum())

    @property
    def failed(self) -> int:
        """Number of failed requests."""
        return self.sent - self.answered

    def latencies(self, model: int | None = None) -> Durations:
        """Return the latencies of requests that succeeded or timed out, for all models or one.

        If timed-out requests were left out, a slower server would look faster.
        """
        chosen = np.isin(self.status, (Status.OK, Status.DEADLINE_EXCEEDED))
        return Durations(self.latency[chosen if model is None else chosen & (self.model == model)])

    def lags(self) -> Durations:
        """Return the send lags of all requests."""
        return Durations(self.lag)

    def count_over(self, limit: int, *, from_send: bool = False) -> int:
        """Return how many requests took longer than a limit or failed, from their due time or from the actual send."""
        taken = self.latency - self.lag if from_send else self.latency
        return int(((self.status != Status.OK) | (taken > limit)).sum())


def summarize_samples(samples: RequestSamples, pool: RequestPool, *, begin: int, end: int) -> LoadStatistics:
    """Compute the statistics of one generator, for requests due from `begin` to `end` (nanoseconds of its clock)."""
    table = samples.table()  # (6, requests)
    due, sent, done, item, status, wrong = table[:, (table[0] >= begin) & (table[0] <= end)]
    result = LoadStatistics(done - due, sent - due, pool.model[item], status)
    result.in_time = int(((status == Status.OK) & (done <= end)).sum())
    result.rows = int(pool.rows[item[status == Status.OK]].sum())
    for number, count in Counter(status[status != Status.OK].tolist()).items():
        result.errors[samples.names[number]] = count
        result.details[samples.names[number]] = samples.details.get(number, "")
    known = wrong >= 0  # (requests,) bool
    answers = np.bincount(item[known], minlength=len(pool.payloads))  # (pool,)
    wrong_rows = np.bincount(item[known], weights=wrong[known], minlength=len(pool.payloads)).astype(np.int64)
    for index, check in pool.checks.items():
        result.compared += int(answers[index]) * len(check.chosen)
        result.different += int(wrong_rows[index])
    return result
