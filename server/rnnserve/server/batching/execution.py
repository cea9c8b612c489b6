"""Run pending requests: group them into batches, run each batch, record it and answer its requests.

A request is late if `PendingRequest.deadline` has passed. The deadline is the earlier of the caller's deadline and the
end of the parameter `timeout`. It becomes minus infinity when the caller cancels.
"""

import abc
import math
from collections.abc import Iterable, Mapping, Sequence
from threading import get_ident
from typing import Any, Protocol

from rnnserve.server.batching.batch_arrays import rows_of_run
from rnnserve.server.batching.planning import Cost, plan
from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.clock import now
from rnnserve.server.counting.table import after_run, answering
from rnnserve.server.errors import Cancelled, DeadlinePassed, InternalError, ServeError, TimeoutExpired
from rnnserve.server.observing.observer import observed
from rnnserve.server.observing.origins import Origin
from rnnserve.server.validation.checked_request import Array, CheckedRequest
from rnnserve.server.validation.signature import Signature

__all__ = [
    "BatchModel",
    "CheckedBatch",
    "PendingRequest",
    "all_in_time",
    "answer_all",
    "check_pending",
    "earlier",
    "longest_run",
    "reason_to_drop",
    "run_batch",
    "run_pending",
    "runs_in_progress",
]


_CANCELLED = -math.inf


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
    """Return why a request is dropped, or None. A timeout limits only the wait: it doesn't end a run that has begun."""
    if not request.deadline < at:
        return None
    before = "answered" if has_begun else "run"
    if request.deadline == _CANCELLED:
        return Cancelled(f"the request was cancelled before it was {before}")
    if request.timeout == math.inf:
        return DeadlinePassed(f"the deadline passed before the request was {before}")
    return None if has_begun else TimeoutExpired(request.timeout)


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
            found = f"a run of {model.name} has not ended after {longest:.1f} s"
    return found
