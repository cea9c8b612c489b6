"""Running what waits: grouped into batches, each run at once, every caller answered."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from rnnserve.server.batching import Cost, plan
from rnnserve.server.boundary import Array, Inference
from rnnserve.server.errors import Cancelled, DeadlinePassed, InternalError, ServeError
from rnnserve.server.statistics import Statistics

__all__ = ["Answer", "Runs", "Work", "run_all"]

Answer = dict[str, Array] | ServeError


class Runs(Protocol):
    """What can be run: a model."""

    @property
    def name(self) -> str:
        """For messages."""

    @property
    def cost(self) -> Cost:
        """For grouping."""

    @property
    def statistics(self) -> Statistics:
        """What it has done."""

    def run(self, requests: Sequence[Inference]) -> list[dict[str, Array]]:
        """Run requests as one batch, and give each its own outputs."""


@dataclasses.dataclass(slots=True, eq=False)
class Work:
    """A request that is to be run.

    Attributes:
        inference: What to run.
        answer: Called on the thread that runs it, with the outputs or the error; again, with an error, if it raises.
        deadline: On `time.monotonic`'s clock, in seconds; None where the caller waits for ever.
        cancelled: Whether the caller is known to have gone.
        arrived: On `time.perf_counter_ns`'s clock.
    """

    inference: Inference
    answer: Callable[[Answer], None]
    deadline: float | None = None
    cancelled: bool = False
    arrived: int = dataclasses.field(default_factory=time.perf_counter_ns)

    @property
    def rows(self) -> int:
        """Size of its batch axis."""
        return self.inference.batch

    @property
    def steps(self) -> int:
        """Its longest length."""
        return self.inference.longest

    def cancel(self) -> None:
        """Say that the caller has gone."""
        self.cancelled = True


def run_all(model: Runs, waiting: list[Work]) -> None:
    """Run what waits, in as few batches as pay, and answer all of it, those included whom nobody needs any more."""
    wanted = [work for work in waiting if not _dropped(work, model.statistics)]
    if not wanted:
        return
    for group in plan([work.steps for work in wanted], [work.rows for work in wanted], model.cost):
        _run([wanted[index] for index in group], model)


def _run(batch: list[Work], model: Runs) -> None:
    started = time.perf_counter_ns()
    statistics = model.statistics
    try:
        answers = model.run([work.inference for work in batch])
    except Exception as error:  # noqa: BLE001 - whatever it is, its callers must hear, and the next batch must run
        statistics.record_failures(len(batch))
        hidden = InternalError.hiding(error)
        for work in batch:
            work.answer(hidden)
        return
    statistics.record(
        requests=len(batch),
        rows=sum(work.rows for work in batch),
        run_ns=time.perf_counter_ns() - started,
        wait_ns=sum(started - work.arrived for work in batch),
    )
    for work, answer in zip(batch, answers, strict=True):
        try:
            work.answer(answer)
        except Exception as error:  # noqa: BLE001 - the rest of the batch must be answered
            work.answer(InternalError.hiding(error))


def _dropped(work: Work, statistics: Statistics) -> bool:
    """Answer a request that nobody waits for any more, before it costs a run."""
    if work.cancelled:
        work.answer(Cancelled("the request was cancelled before it was run"))
    elif work.deadline is not None and time.monotonic() > work.deadline:
        work.answer(DeadlinePassed("the deadline passed before the request was run"))
    else:
        return False
    statistics.record_dropped()
    return True
