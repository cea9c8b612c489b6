"""Running pending requests: grouped into batches, each run, recorded and answered by one function.

One comparison with `PendingRequest.deadline` decides whether a request is late: it is the earlier of the caller's
deadline and the end of the parameter `timeout`, and minus infinity once the caller has cancelled.
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
    """A request that waits, and how it is answered: exactly once, on the thread that runs it."""

    __slots__ = ("arrived", "deadline", "rows", "steps", "timeout")

    def __init__(self, rows: int, steps: int, deadline: float, arrived: float, timeout: float = math.inf) -> None:
        self.rows = rows
        self.steps = steps  # its longest length, or the size of its sequence axis if its lengths have not been read yet
        self.deadline = deadline  # when it is late, in seconds on the server's clock
        self.arrived = arrived  # on the same clock
        self.timeout = timeout  # seconds of its own timeout if that is what the deadline says, otherwise infinity

    @property
    @abc.abstractmethod
    def connection(self) -> str:
        """Names its connection: the same for all of its requests."""

    @abc.abstractmethod
    def check(self) -> CheckedRequest:
        """Return the checked request, or raise a ServeError. Called once, before the run."""

    @abc.abstractmethod
    def answer(self, outputs: Mapping[str, Array]) -> None:
        """Answer with the outputs asked for, by name, in the request's own shapes."""

    @abc.abstractmethod
    def refuse(self, error: ServeError) -> None:
        """Answer with an error. Also called after `answer` if that raised."""

    @abc.abstractmethod
    def origin(self) -> Origin:
        """Say where it comes from; before it is answered."""

    def cancel(self) -> None:
        """Note that the caller has cancelled: the request need not be run."""
        self.deadline = _CANCELLED


class _HasDeadline(Protocol):
    @property
    def deadline(self) -> float: ...


def earlier(deadline: float, arrived: float, timeout: float) -> tuple[float, float]:
    """Return `deadline` and `timeout` of a pending request, from its caller's deadline and its parameter's seconds."""
    end = arrived + timeout
    return (end, timeout) if end < deadline else (deadline, math.inf)


def all_in_time(requests: Iterable[_HasDeadline], at: float) -> bool:
    """Whether none of these is late at a time."""
    for request in requests:  # noqa: SIM110 - `all` would take a call for each of them
        if request.deadline < at:
            return False
    return True


def reason_to_drop(request: PendingRequest, at: float, *, has_begun: bool = False) -> ServeError | None:
    """Return why a request need not be run, or run on if it has begun. A timeout is for the wait, and ends no run."""
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
        """Its name, for messages."""

    @property
    def signature(self) -> Signature:
        """Its tensors, and which requests may share a run."""

    @property
    def cost(self) -> Cost:
        """What its runs cost."""

    @property
    def statistics(self) -> Statistics:
        """Counts of what it has done."""

    @property
    def in_steps(self) -> "BatchModel | None":
        """What runs its requests a few steps at a time; None if they are run whole."""

    def run(self, requests: Sequence[CheckedRequest]) -> list[dict[str, Array]]:
        """Run requests as one batch, and return each one's own outputs by name."""

    @property
    def refuses_non_finite(self) -> bool:
        """Whether answers that are not finite are refused, in the outputs that may be."""

    def run_arrays(self, names: list[str], feeds: Mapping[str, Array], /) -> list[Array]:
        """Run arrays as they are, and return the outputs named: for runs by steps."""


class _Batch(Protocol):
    """Requests that are run together, and answered in their order. `run` gives None for a value not plainly valid."""

    @property
    def members(self) -> Sequence[Any]: ...  # each is answered or refused, and has an origin
    @property
    def arrivals(self) -> Sequence[float]: ...  # of each member, in seconds on the clock of `clock`
    @property
    def rows_each(self) -> Sequence[int]: ...
    @property
    def rows(self) -> int: ...
    @property
    def steps(self) -> int: ...  # of all rows together
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
        """Steps of all of their rows, together."""
        return sum([request.batch * request.steps for request in self._requests])

    @property
    def padded_steps(self) -> int:
        """Steps of the run beside these."""
        longest = max([request.steps for request in self._requests])
        return rows_of_run(self._model.signature, self.rows) * longest - self.steps

    @property
    def rows_each(self) -> list[int]:
        """Rows of each of them."""
        return [request.batch for request in self._requests]

    def run(self) -> list[dict[str, Array]]:
        """Run them, and return each one's outputs by name."""
        return self._model.run(self._requests)

    def part(self, part: slice) -> "CheckedBatch":
        """Return some of the requests as a batch of their own."""
        return CheckedBatch(self._model, self.members[part], self._requests[part])


def run_pending(model: BatchModel, pending: Iterable[PendingRequest]) -> None:
    """Run pending requests in the batches that cost least, and answer all of them, dropped ones included."""
    wanted, checked = check_pending(model.statistics, pending)
    if not wanted:
        return
    try:
        for group in plan(checked, model.signature, model.cost):
            members, requests = [wanted[index] for index in group], [checked[index] for index in group]
            run_batch(model, CheckedBatch(model, members, requests))
    except Exception as error:  # noqa: BLE001 - a defect must neither keep callers waiting nor hold up a sequence
        for one in wanted:
            one.refuse(InternalError.hiding(error))


def check_pending(
    statistics: Statistics, pending: Iterable[PendingRequest]
) -> tuple[list[PendingRequest], list[CheckedRequest]]:
    """Return the requests to run, as pending and as checked; refuse all others, late ones among them."""
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
        except Exception as error:  # noqa: BLE001 - one request's defect must not cost the others' answers
            one.refuse(InternalError.hiding(error))
        else:
            wanted.append(one)
    return wanted, checked


def run_batch(model: BatchModel, batch: _Batch) -> bool:
    """Run a batch, answer each of its members, and record the run; return False if the run gave None, and answer none.

    A run that raises is made again in halves, until the requests that it fails for are found: these are refused, and
    all others are answered. One such request of n costs about 2 log2 n further runs.
    """
    members, statistics = batch.members, model.statistics
    count = len(members)
    started = now()
    thread = get_ident()
    runs_in_progress[thread] = model, batch, started
    try:
        answers = batch.run()
    except Exception as error:  # noqa: BLE001 - whatever it is, the callers must be told, and the next batch must run
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
    """Answer the members of a batch in their order, and report their run to the observer if there is one."""
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


# An operator may run for ever: a Loop of the graph that a value of the input keeps going. onnxruntime cannot end it,
# and its thread does nothing else meanwhile; on the fast path's thread it holds up every model.

runs_in_progress: dict[int, tuple[BatchModel, _Batch | None, float]] = {}
"""By thread: the model, the batch or None for a few steps, and when the run began, on the clock of `clock`."""

_COST_FACTOR = 10.0
"""How many times its measured cost a run may take, beside the limit: costs are measured on an idle machine."""


def longest_run(limit: float) -> str:
    """Describe the longest run, if it takes more than `limit` seconds and ten times its measured cost; else empty."""
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
