"""Running what waits: grouped into batches, each run, recorded and answered by one function."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from rnnserve.server.batching.clock import now
from rnnserve.server.batching.cost import Cost
from rnnserve.server.batching.pending import PendingRequest
from rnnserve.server.batching.planning import plan
from rnnserve.server.batching.statistics import Statistics
from rnnserve.server.boundary.checked_request import Array, CheckedRequest
from rnnserve.server.errors import InternalError, ServeError

__all__ = ["BatchModel", "Recipient", "run_batch", "run_pending"]


class BatchModel(Protocol):
    """A model that runs requests as batches."""

    @property
    def name(self) -> str:
        """Its name, for messages."""

    @property
    def cost(self) -> Cost:
        """What its runs cost."""

    @property
    def statistics(self) -> Statistics:
        """Counts of what it has done."""

    def run(self, requests: Sequence[CheckedRequest]) -> list[dict[str, Array]]:
        """Run requests as one batch, and give each its own outputs by name."""


A = TypeVar("A", contravariant=True)


class Recipient(Protocol[A]):
    """What is answered after a run."""

    def answer(self, answer: A, /) -> None:
        """Take the answer."""

    def refuse(self, error: ServeError, /) -> None:
        """Take an error instead."""


T = TypeVar("T")


def run_pending(model: BatchModel, waiting: Iterable[PendingRequest]) -> None:
    """Run what waits, in the batches that cost least, and answer all of it, dropped requests included."""
    wanted: list[PendingRequest] = []
    checked: list[CheckedRequest] = []
    at = now()
    for pending in waiting:
        dropped = pending.reason_to_drop(at)
        if dropped is not None:
            model.statistics.record_dropped()
            pending.refuse(dropped)
            continue
        try:
            checked.append(pending.check())
        except ServeError as error:
            pending.refuse(error)
        except Exception as error:  # noqa: BLE001 - one request's defect must not cost the others' answers
            pending.refuse(InternalError.hiding(error))
        else:
            wanted.append(pending)
    if not wanted:
        return
    for group in plan([request.longest for request in checked], [request.batch for request in checked], model.cost):
        members = [wanted[index] for index in group]
        requests = [checked[index] for index in group]
        run_batch(
            model.statistics,
            members,
            functools.partial(model.run, requests),
            rows=sum([request.batch for request in requests]),
            arrived=sum([pending.arrived for pending in members]),
        )


def run_batch(
    statistics: Statistics,
    members: Sequence[Recipient[T]],
    run: Callable[[], Sequence[T] | None],
    *,
    rows: int,
    arrived: float,
) -> bool:
    """Run requests as one batch, record it, and answer each of them.

    Args:
        statistics: Of the model.
        members: What is answered, in the order of the run's answers.
        run: Makes the run and gives the answers, in the same order; None where a value is not plainly valid.
        rows: Rows of all of them.
        arrived: Sum of their arrivals, in seconds on the clock of `batching.clock`.

    Returns:
        False where `run` gave None: then none is answered, and each has to pass the boundary.
    """
    started = now()
    try:
        answers = run()
    except Exception as error:  # noqa: BLE001 - whatever it is, the callers must hear, and the next batch must run
        statistics.record_failures(len(members))
        hidden = InternalError.hiding(error)
        for member in members:
            member.refuse(hidden)
        return True
    if answers is None:
        return False
    count = len(members)
    statistics.record(requests=count, rows=rows, run_seconds=now() - started, wait_seconds=count * started - arrived)
    for member, answer in zip(members, answers, strict=True):
        try:
            member.answer(answer)
        except Exception as error:  # noqa: BLE001 - the rest of the batch must be answered
            member.refuse(InternalError.hiding(error))
    return True
