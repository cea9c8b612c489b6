"""Running what waits: grouped into batches, each run, recorded and answered by one function."""

from collections.abc import Iterable, Mapping, Sequence
from threading import get_ident
from typing import Any, Protocol, TypeVar

from rnnserve.server.batching.batch_arrays import rows_of_run
from rnnserve.server.batching.cost import Cost
from rnnserve.server.batching.lateness import reason_to_drop
from rnnserve.server.batching.pending import PendingRequest
from rnnserve.server.batching.planning import plan
from rnnserve.server.batching.runs_in_progress import runs_in_progress
from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.boundary.checked_request import Array, CheckedRequest
from rnnserve.server.boundary.signature import Signature
from rnnserve.server.clock import now
from rnnserve.server.counting.table import after_run, answering
from rnnserve.server.errors import InternalError, ServeError
from rnnserve.server.observing.observer import observed
from rnnserve.server.observing.origins import Origin

__all__ = [
    "Batch",
    "BatchModel",
    "CheckedBatch",
    "Recipient",
    "StepModel",
    "answer_all",
    "pass_boundary",
    "run_batch",
    "run_pending",
]


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
    def in_steps(self) -> "StepModel | None":
        """What runs its requests a few steps at a time; None where they are run whole."""

    def run(self, requests: Sequence[CheckedRequest]) -> list[dict[str, Array]]:
        """Run requests as one batch, and give each its own outputs by name.

        Raises:
            InvalidRequest: If a request has values that the model refuses.
        """


class StepModel(BatchModel, Protocol):
    """A model whose sequences may be cut, and continued from their states with the same bits."""

    @property
    def refuses_non_finite(self) -> bool:
        """Whether answers are refused that are not finite, in the outputs that may be."""

    def run_arrays(self, names: list[str], feeds: Mapping[str, Array], /) -> list[Array]:
        """Run arrays as they are, and give the outputs named.

        Raises:
            InvalidRequest: If values are refused.
        """


A = TypeVar("A")
A_contra = TypeVar("A_contra", contravariant=True)


class Recipient(Protocol[A_contra]):
    """What is answered after a run."""

    def answer(self, answer: A_contra, /) -> None:
        """Take the answer."""

    def refuse(self, error: ServeError, /) -> None:
        """Take an error instead."""

    def origin(self) -> Origin:
        """Say where it comes from; before it is answered."""


class AnsweredBatch(Protocol[A_contra]):
    """Requests that are answered together."""

    @property
    def members(self) -> Sequence[Recipient[A_contra]]:
        """What is answered."""

    @property
    def arrivals(self) -> Sequence[float]:
        """Their arrivals, in seconds on the clock of `clock`."""

    @property
    def rows_each(self) -> Sequence[int]:
        """Rows of each of them."""

    @property
    def padded_steps(self) -> int:
        """Steps of the run beside theirs: of padding after shorter rows, and of a padding row."""


class Batch(AnsweredBatch[A], Protocol[A]):
    """Requests that are run together."""

    @property
    def rows(self) -> int:
        """Rows of all of them."""

    @property
    def steps(self) -> int:
        """Steps of all of their rows, together."""

    def run(self) -> Sequence[A] | None:
        """Make the run, and give the answers in the members' order; None where a value is not plainly valid."""

    def part(self, part: slice) -> "Batch[A]":
        """Give some of the requests as a batch of their own."""


class CheckedBatch:
    """Requests that have passed the boundary, as one batch.

    Attributes:
        members: The requests as they waited.
        rows: Rows of all of them.
        arrivals: Their arrivals, in seconds on the clock of `clock`.
    """

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
        """Run them, and give each its outputs by name."""
        return self._model.run(self._requests)

    def part(self, part: slice) -> "CheckedBatch":
        """Give some of the requests as a batch of their own."""
        return CheckedBatch(self._model, self.members[part], self._requests[part])


def run_pending(model: BatchModel, waiting: Iterable[PendingRequest]) -> None:
    """Run what waits, in the batches that cost least, and answer all of it, dropped requests included."""
    wanted, checked = pass_boundary(model.statistics, waiting)
    if not wanted:
        return
    try:
        for group in plan(checked, model.signature, model.cost):
            members, requests = [wanted[index] for index in group], [checked[index] for index in group]
            run_batch(model, CheckedBatch(model, members, requests))
    except Exception as error:  # noqa: BLE001 - a defect must neither keep callers waiting nor hold up a sequence
        for pending in wanted:
            pending.refuse(InternalError.hiding(error))


def pass_boundary(
    statistics: Statistics, waiting: Iterable[PendingRequest]
) -> tuple[list[PendingRequest], list[CheckedRequest]]:
    """Give the requests that are to be run, as they waited and as they have passed the boundary; refuse all others."""
    wanted: list[PendingRequest] = []
    checked: list[CheckedRequest] = []
    at = now()
    for pending in waiting:
        dropped = reason_to_drop(pending, at)
        if dropped is not None:
            statistics.record_dropped(at - pending.arrived)
            pending.refuse(dropped.of(statistics.counts))
            continue
        try:
            checked.append(pending.check())
        except ServeError as error:
            pending.refuse(error.of(statistics.counts))
        except Exception as error:  # noqa: BLE001 - one request's defect must not cost the others' answers
            pending.refuse(InternalError.hiding(error))
        else:
            wanted.append(pending)
    return wanted, checked


def run_batch(model: BatchModel, batch: Batch[A]) -> bool:
    """Run a batch, answer each of its members, and record the run.

    A run that raises is made again in halves, until the requests that it fails for are found: these are refused, and
    all others are answered. One such request of n costs about 2 log2 n further runs.

    Args:
        model: The model that runs it.
        batch: The requests.

    Returns:
        False where the run gave None: then none is answered, and each has to pass the boundary.
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
    statistics.record(
        rows=batch.rows,
        run_seconds=ended - started,
        arrivals=batch.arrivals,
        ended=ended,
        steps=batch.steps,
        padded_steps=batch.padded_steps,
    )
    return True


def answer_all(
    statistics: Statistics, batch: AnsweredBatch[A], answers: Sequence[A], started: float, ended: float
) -> None:
    """Answer each member of a batch, and tell who observes.

    Args:
        statistics: Statistics of the model.
        batch: The requests.
        answers: The answers in the members' order.
        started: Beginning of their run, in seconds on the clock of `clock`.
        ended: End of it.
    """
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
