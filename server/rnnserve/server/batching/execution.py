"""Run pending requests: group them into batches, run each batch, record it and answer its requests.

The measured cost of inference calls decides which requests share a batch, as far as the model allows. If rows may be
padded, requests of different lengths can: rows are padded to the longest, and `lengths` marks the end of each row for
the recurrence. If one padded batch costs more than several shorter ones, requests are grouped by length. If there are
several sequence axes, only the first is padded.

A request is late if `PendingRequest.deadline` has passed. The deadline is the earlier of the caller's deadline and the
end of the parameter `timeout`. It becomes minus infinity when the caller cancels.
"""

import abc
import dataclasses
import itertools
import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from threading import get_ident
from typing import Any, Protocol

from rnnserve.server.batching.batch_arrays import rows_of_run
from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.clock import now
from rnnserve.server.counting.table import after_run, answering
from rnnserve.server.errors import Cancelled, DeadlinePassed, InternalError, ServeError, TimeoutExpired
from rnnserve.server.observing.observer import observed
from rnnserve.server.observing.origins import Origin
from rnnserve.server.validation.signature import Array, Batching, CheckedRequest, Signature

__all__ = [
    "BatchModel",
    "CheckedBatch",
    "Cost",
    "PendingRequest",
    "all_in_time",
    "answer_all",
    "check_pending",
    "earlier",
    "longest_run",
    "plan",
    "plan_lengths",
    "reason_to_drop",
    "run_batch",
    "run_pending",
    "runs_in_progress",
]


_CANCELLED = -math.inf

_ROWS_TO_FIXED = 6
"""A batch is large enough if its rows take this many times as long as its fixed part. With hidden size 128 and lengths
1 to 64, this takes about 17 requests."""

_STAGES = 8
"""Maximum number of distinct lengths in `plan`. If there are more, neighboring lengths count as the longer one. The
time of `plan` grows with the square of this number."""

_WORTH = 0.2
"""Minimum part of a padded batch's time that a split must save. Each further inference call has costs that timing
inference alone doesn't show: cold caches, and responses sent in smaller groups. Splits with an expected saving of 10 %
made the server slower."""


class PendingRequest(abc.ABC):
    """A pending request. It is answered exactly once, on the thread that runs it."""

    __slots__ = ("arrived", "deadline", "rows", "steps", "timeout")

    def __init__(self, rows: int, steps: int, deadline: float, arrived: float, timeout: float = math.inf) -> None:
        self.rows = rows
        self.steps = steps  # its longest length, or the size of its sequence axis while the lengths are unparsed
        self.deadline = deadline  # in seconds on the server's clock
        self.arrived = arrived  # on the same clock
        self.timeout = timeout  # seconds of the request's timeout if that determines the deadline, otherwise infinity

    @property
    @abc.abstractmethod
    def connection(self) -> str:
        """The name of its connection, equal for all requests of a connection."""

    @abc.abstractmethod
    def check(self) -> CheckedRequest:
        """Return the checked request, or raise a ServeError. Called once, before the inference call."""

    @abc.abstractmethod
    def answer(self, outputs: Mapping[str, Array]) -> None:
        """Respond with the requested outputs, by name, in the request's own shapes."""

    @abc.abstractmethod
    def refuse(self, error: ServeError) -> None:
        """Respond with an error. Also called if `answer` raised."""

    @abc.abstractmethod
    def origin(self) -> Origin:
        """Return the request's origin. Valid only before the response."""

    def cancel(self) -> None:
        """Mark the request as cancelled by its caller, so that it isn't run."""
        self.deadline = _CANCELLED


class _HasDeadline(Protocol):
    @property
    def deadline(self) -> float: ...


def earlier(deadline: float, arrived: float, timeout: float) -> tuple[float, float]:
    """Return a pending request's `deadline` and `timeout`, from the caller's deadline and the timeout in seconds."""
    end = arrived + timeout
    return (end, timeout) if end < deadline else (deadline, math.inf)


def all_in_time(requests: Iterable[_HasDeadline], at: float) -> bool:
    """Return whether no request is late at time `at`."""
    for request in requests:  # noqa: SIM110 - `all` would add a call per request
        if request.deadline < at:
            return False
    return True


def reason_to_drop(request: PendingRequest, at: float, *, has_begun: bool = False) -> ServeError | None:
    """Return why a request is dropped, or None. A timeout limits only the wait, not the run itself."""
    if not request.deadline < at:
        return None
    before = "answered" if has_begun else "run"
    if request.deadline == _CANCELLED:
        return Cancelled(f"the request was cancelled before it was {before}")
    if request.timeout == math.inf:
        return DeadlinePassed(f"the deadline passed before the request was {before}")
    return None if has_begun else TimeoutExpired(request.timeout)


@dataclasses.dataclass(frozen=True)
class Cost:
    """Seconds per inference call, measured at load: `run + steps * step + points * point + padding points * padding`.

    Points are rows * steps. Steps run one after another, and each step reads the recurrent weights once for all rows.
    With a large hidden size, a step with two rows therefore costs nearly as much as a step with eight. The `padding`
    term exists because onnxruntime skips part of the work after the end of a row. Without these two terms, the planner
    would split batches for no gain.
    """

    run: float  # fixed cost of a call
    step: float  # fixed cost of a step
    point: float
    padding: float  # cost of a point after the end of its row
    max_points: int = 1 << 16  # limit per call, to bound its memory (larger requests are split)

    def of(self, rows: float, steps: int) -> float:
        """Return the seconds of an inference call with `rows` rows of `steps` steps, without padding."""
        return self.run + steps * (self.step + rows * self.point)

    def points_within(self, seconds: float) -> float:
        """Return the points that fit into `seconds` in any shape. One long row is the most expensive shape."""
        each = self.step + self.point
        return max(seconds - self.run, 0.0) / each if each else math.inf

    def points_taking(self, seconds: float) -> float:
        """Return the points that take `seconds` in batches of many rows, without the fixed costs."""
        return seconds / self.point if self.point else math.inf

    def seconds_of_queue(self, points: int) -> float:
        """Return the seconds that requests with `points` points take in total, in large enough batches."""
        return points * self.point * (1 + 1 / _ROWS_TO_FIXED)

    def enough(self, steps: int) -> float:
        """Return how many points make a batch of `steps` steps large enough.

        In larger batches, the fixed cost is a small part of the total. Two calls then take hardly longer than one call
        for both halves. The first half is answered earlier, and its clients can send again while the second half runs.
        """
        return _ROWS_TO_FIXED * (self.run + steps * self.step) / self.point if self.point else math.inf


class BatchModel(Protocol):
    """A model that runs requests as batches."""

    @property
    def name(self) -> str:
        """The model's name for messages."""

    @property
    def signature(self) -> Signature:
        """The model's tensors, and which requests may share a batch."""

    @property
    def cost(self) -> Cost:
        """The measured cost of inference calls."""

    @property
    def statistics(self) -> Statistics:
        """The model's counters."""

    @property
    def in_steps(self) -> "BatchModel | None":
        """The model for step-level batching, or None if the model runs only whole requests."""

    def run(self, requests: Sequence[CheckedRequest]) -> list[dict[str, Array]]:
        """Run requests as one batch, and return each request's outputs by name."""

    @property
    def refuses_non_finite(self) -> bool:
        """Whether to reject responses with non-finite values, except in outputs that may have them."""

    def run_arrays(self, names: list[str], feeds: Mapping[str, Array], /) -> list[Array]:
        """Run arrays unchanged and return the named outputs. For step-level batching."""


class _Batch(Protocol):
    """Requests of one inference call, answered in order. `run` returns None if the inputs need full validation."""

    @property
    def members(self) -> Sequence[Any]: ...  # pending requests in order
    @property
    def arrivals(self) -> Sequence[float]: ...  # arrival of each member, in seconds on `clock`
    @property
    def rows_each(self) -> Sequence[int]: ...
    @property
    def rows(self) -> int: ...
    @property
    def steps(self) -> int: ...  # total over all rows
    @property
    def padded_steps(self) -> int: ...
    def run(self) -> Sequence[Any] | None: ...
    def part(self, part: slice, /) -> "_Batch": ...


class CheckedBatch:
    """Checked requests as one batch."""

    __slots__ = ("_model", "_requests", "arrivals", "members", "rows")

    def __init__(
        self, model: BatchModel, members: Sequence[PendingRequest], requests: Sequence[CheckedRequest]
    ) -> None:
        self._model = model
        self._requests = requests
        self.members = members
        self.rows = sum([request.batch for request in requests])
        self.arrivals = [pending.arrived for pending in members]

    @property
    def steps(self) -> int:
        """Total steps of all rows."""
        return sum([request.batch * request.steps for request in self._requests])

    @property
    def padded_steps(self) -> int:
        """Padding steps that the batch adds to `steps`."""
        longest = max([request.steps for request in self._requests])
        return rows_of_run(self._model.signature, self.rows) * longest - self.steps

    @property
    def rows_each(self) -> list[int]:
        """Rows of each request."""
        return [request.batch for request in self._requests]

    def run(self) -> list[dict[str, Array]]:
        """Run the batch and return each request's outputs by name."""
        return self._model.run(self._requests)

    def part(self, part: slice) -> "CheckedBatch":
        """Return a slice of the requests as a separate batch."""
        return CheckedBatch(self._model, self.members[part], self._requests[part])


def run_pending(model: BatchModel, pending: Iterable[PendingRequest]) -> None:
    """Run pending requests in the cheapest batches, and answer all of them, including dropped ones."""
    wanted, checked = check_pending(model.statistics, pending)
    if not wanted:
        return
    try:
        for group in plan(checked, model.signature, model.cost):
            members, requests = [wanted[index] for index in group], [checked[index] for index in group]
            run_batch(model, CheckedBatch(model, members, requests))
    except Exception as error:  # noqa: BLE001 - a defect must not leave callers waiting or block a sequence
        for one in wanted:
            one.refuse(InternalError.hiding(error))


def plan(requests: Sequence[CheckedRequest], signature: Signature, cost: Cost) -> list[list[int]]:
    """Return groups of request indices, one group per inference call. Each group keeps the order of arrival."""
    if signature.batching is Batching.ALONE:
        return [[index] for index in range(len(requests))]
    equal = signature.equal_axes
    if not equal:
        return plan_lengths([request.steps for request in requests], [request.batch for request in requests], cost)
    by_sizes: dict[tuple[int, ...], list[int]] = {}
    for index, request in enumerate(requests):
        by_sizes.setdefault(tuple([request.longest[axis] for axis in equal]), []).append(index)
    planned: list[list[int]] = []
    for group in by_sizes.values():
        steps, rows = [requests[index].steps for index in group], [requests[index].batch for index in group]
        planned += [[group[at] for at in part] for part in plan_lengths(steps, rows, cost)]
    return planned


def plan_lengths(lengths: Sequence[int], rows: Sequence[int], cost: Cost) -> list[list[int]]:
    """Return groups as `plan` does, for rows that may be padded along one axis.

    The cheapest partition consists of neighbors by length. Dynamic programming over the lengths finds it.
    """
    longest = max(lengths)
    points, padded = sum(map(operator.mul, lengths, rows)), sum(rows) * longest
    groups = [list(range(len(lengths)))]
    padding = cost.padding * (padded - points)
    must_save = _WORTH * (cost.run + longest * cost.step + points * cost.point + padding)
    if padding > must_save:  # a split saves at most the padding
        saved, cheapest = _cheapest(lengths, rows, cost)
        if saved > must_save:
            groups = cheapest
    if padded > cost.max_points:
        groups = [part for group in groups for part in _within_memory(group, lengths, rows, cost.max_points)]
    return groups


def _cheapest(lengths: Sequence[int], rows: Sequence[int], cost: Cost) -> tuple[float, list[list[int]]]:
    """Return the cheapest partition into neighbors by length, and the seconds it saves over one group."""
    by_length: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        by_length.setdefault(length, []).append(index)
    ascending = sorted(by_length)
    total = list(itertools.accumulate((sum([rows[index] for index in by_length[at]]) for at in ascending), initial=0))
    count = min(len(ascending), _STAGES)
    starts = [stage * len(ascending) // count for stage in range(count + 1)]  # of the stages, plus the last end
    best = [0.0]  # by stage: cost of the cheapest partition of all previous stages
    before: list[int] = []  # by stage: start of the last group in the cheapest partition up to this stage
    for end in starts[1:]:
        longest, up_to = ascending[end - 1], total[end]
        # All partitions have the same cost for the points themselves. They differ only in padding.
        prices = [
            price + cost.run + longest * (cost.step + cost.padding * (up_to - total[start]))
            for price, start in zip(best, starts, strict=False)
        ]
        best.append(min(prices))
        before.append(prices.index(best[-1]))
    groups: list[list[int]] = []
    stage = count
    while stage:
        first = before[stage - 1]
        slice_ = ascending[starts[first] : starts[stage]]
        groups.append(sorted(itertools.chain.from_iterable(by_length[length] for length in slice_)))
        stage = first
    together = cost.run + ascending[-1] * (cost.step + cost.padding * total[-1])
    return together - best[-1], groups[::-1]


def _within_memory(group: list[int], lengths: Sequence[int], rows: Sequence[int], max_points: int) -> list[list[int]]:
    """Cut a group so that rows * longest stays within `max_points`. A request above that limit gets its own group."""
    parts: list[list[int]] = [[]]
    used = longest = 0
    for index in group:
        used, longest = used + rows[index], max(longest, lengths[index])
        if parts[-1] and used * longest > max_points:
            parts.append([])
            used, longest = rows[index], lengths[index]
        parts[-1].append(index)
    return parts


def check_pending(
    statistics: Statistics, pending: Iterable[PendingRequest]
) -> tuple[list[PendingRequest], list[CheckedRequest]]:
    """Return the requests to run, as pending and as checked. Refuse invalid and late requests."""
    wanted: list[PendingRequest] = []
    checked: list[CheckedRequest] = []
    at = now()
    for one in pending:
        dropped = reason_to_drop(one, at)
        if dropped is not None:
            statistics.record_dropped(at - one.arrived)
            one.refuse(dropped.of(statistics.counts))
            continue
        try:
            checked.append(one.check())
        except ServeError as error:
            one.refuse(error.of(statistics.counts))
        except Exception as error:  # noqa: BLE001 - a defect with one request must not affect the others
            one.refuse(InternalError.hiding(error))
        else:
            wanted.append(one)
    return wanted, checked


def run_batch(model: BatchModel, batch: _Batch) -> bool:
    """Run a batch, answer its members, and record it. If `batch.run` returns None, answer none and return False.

    If the inference call raises, the batch is split in halves until the failing requests are found. Those are refused,
    and all others are answered. One failing request among n costs about 2 log2 n further calls.
    """
    members, statistics = batch.members, model.statistics
    count = len(members)
    started = now()
    thread = get_ident()
    runs_in_progress[thread] = model, batch, started
    try:
        answers = batch.run()
    except Exception as error:  # noqa: BLE001 - callers need a response, and the next batch must run
        if count > 1:
            for half in (slice(0, count // 2), slice(count // 2, count)):
                run_batch(model, batch.part(half))
        else:
            failed = now()
            statistics.record_failure(failed - batch.arrivals[0])
            refused = error if isinstance(error, ServeError) else InternalError.hiding(error)
            refused.run_seconds = failed - started
            members[0].refuse(refused.of(statistics.counts).of_request(batch.rows, batch.arrivals[0]))
        return True
    finally:
        runs_in_progress.pop(thread, None)
    if answers is None:
        return False
    ended = now()
    answer_all(statistics, batch, answers, started, ended)
    statistics.record_run(batch.rows, ended - started, batch.steps, batch.padded_steps, batch.arrivals, ended)
    return True


def answer_all(statistics: Statistics, batch: _Batch, answers: Sequence[Any], started: float, ended: float) -> None:
    """Answer the members of a batch in order, and report the batch to the observer if there is one."""
    members: Sequence[Any] = batch.members
    statistics.answering(len(members))
    answering.counts, answering.run_seconds = statistics.counts, ended - started
    observer = observed.runs
    if observer is not None:
        members = observer.watched(members)
    for member, answer in zip(members, answers, strict=True):
        try:
            member.answer(answer)
        except Exception as error:  # noqa: BLE001 - the rest of the batch must be answered
            refused = error if isinstance(error, ServeError) else InternalError.hiding(error)
            member.refuse(after_run(refused))
    if observer is not None:
        times = started, ended
        observer.ran(statistics.counts, members, batch.rows_each, batch.arrivals, times, batch.padded_steps)


# An inference call may never end, because an input value can keep a Loop of the graph going. onnxruntime cannot stop
# such a call, so its thread stays busy. On the fast path's thread, it blocks every model.

runs_in_progress: dict[int, tuple[BatchModel, _Batch | None, float]] = {}
"""By thread: the model, the batch (None for a chunk of steps), and the start time in seconds on `clock`."""

_COST_FACTOR = 10.0
"""An inference call may exceed the limit by this multiple of its cost, because costs are measured on an idle machine.
"""


def longest_run(limit: float) -> str:
    """Describe the longest inference call if it exceeds `limit` seconds plus ten times its cost."""
    at, longest, found = now(), 0.0, ""
    for model, batch, began in list(runs_in_progress.values()):
        most = limit
        if batch is not None:
            rows = max(batch.rows, 1)
            most += _COST_FACTOR * model.cost.of(rows, -(-batch.steps // rows))
        if at - began > max(most, longest):
            longest = at - began
            found = f"an inference call of {model.name} has not ended after {longest:.1f} s"
    return found
