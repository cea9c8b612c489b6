"""What learns of refusals and runs: it keeps them until its thread has written the lines and made the spans.

Whatever happens to the log and to what collects spans, the threads that answer only put something into a queue. What
does not fit there is left out, and the next line of the kind says how much that was.
"""

import contextlib
import logging
import queue
import threading
from collections.abc import Iterator
from typing import NamedTuple

from rnnserve.common.request_lines import LineBudget
from rnnserve.common.telemetry import TracesUnavailable, check_traces, start_traces
from rnnserve.server.clock import now
from rnnserve.server.counting.places import REFUSALS, REFUSED, refusal_place
from rnnserve.server.counting.table import Counts
from rnnserve.server.errors import ServeError, StartError
from rnnserve.server.observing.origins import Origin
from rnnserve.server.observing.request_log import ANSWERED, Refusal, log_refusal, log_run
from rnnserve.server.observing.runs import RunBatch, SeenRun, observed
from rnnserve.server.observing.spans import Spans
from rnnserve.server.settings import Settings

__all__ = ["RequestObserver", "check_tracing", "requests_observed", "requests_told"]

_log = logging.getLogger(__name__)

_MOST_WAITING = 4096
"""Refusals and runs that wait to be told; each has some kB at most. Beyond it: they are counted in the next line."""

_END_SECONDS = 1.0
"""Seconds that what waits has at the end."""


class _Traced(NamedTuple):
    refusal: Refusal
    is_traced: bool
    left_out: int | None


class RequestObserver:
    """Implements `Observer`. Any thread may tell it."""

    def __init__(self, log_requests: str, spans: Spans | None) -> None:
        """Start the thread.

        Args:
            log_requests: One of `LOG_REQUESTS`: which requests have a line.
            spans: Maker of spans; None where there are to be none.
        """
        self._log_requests = log_requests
        self._spans = spans
        self._budget = LineBudget()
        self._waiting: queue.SimpleQueue[_Traced | SeenRun | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._loop, name="requests", daemon=True)
        self._thread.start()

    @property
    def wants_refusals(self) -> bool:
        """Whether it is to be told of refusals."""
        return self._log_requests != "none" or self._spans is not None

    @property
    def wants_runs(self) -> bool:
        """Whether it is to be told of runs."""
        return self._log_requests == "all" or self._spans is not None

    def refused(self, origin: Origin, error: ServeError) -> None:
        """Learn of a refusal."""
        status, reason = REFUSALS[refusal_place(error) - REFUSED]
        is_traced = self._spans is not None and self._spans.may_be_sampled(origin)
        left_out: int | None = None
        if self._log_requests == "errors":
            left_out = self._budget.take(reason)
        elif self._log_requests == "all":
            left_out = 0  # the thread asks, when it writes
        if left_out is None and not is_traced:
            return
        at = now()
        refusal = Refusal(
            origin, error.counts, status, reason, error.field, error.rows, error.arrived or at, error.run_seconds, at
        )
        self._put(_Traced(refusal, is_traced, left_out), reason, 1 + (left_out or 0))

    def ran(
        self, counts: Counts, origins: list[Origin], batch: RunBatch, started: float, ended: float, sent: list[bool]
    ) -> None:
        """Learn of a run, and of which of its requests have their answers."""
        is_logged, spans = self._log_requests == "all", self._spans
        kept = [
            (origin, rows, arrived)
            for origin, rows, arrived, is_sent in zip(origins, batch.rows_each, batch.arrivals, sent, strict=True)
            if is_sent and (is_logged or (spans is not None and spans.may_be_sampled(origin)))
        ]
        if kept:
            of_origin, of_rows, of_arrivals = zip(*kept, strict=True)
            run = SeenRun(counts, of_origin, of_rows, of_arrivals, started, ended, batch.padded_steps, is_logged)
            self._put(run, ANSWERED, len(kept))

    def close(self) -> None:
        """Tell what waits, within a second, and end the thread."""
        self._waiting.put(None)
        self._thread.join(_END_SECONDS)
        if self._spans is not None:
            self._spans.close()

    def _put(self, seen: _Traced | SeenRun, kind: str, lines: int) -> None:
        if self._waiting.qsize() < _MOST_WAITING:
            self._waiting.put(seen)
        elif self._log_requests != "none":
            self._budget.leave_out(kind, lines)

    def _loop(self) -> None:
        while (seen := self._waiting.get()) is not None:
            try:
                self._tell(seen)
            except Exception:  # noqa: BLE001 - a defect here costs a line, and no answer
                _log.exception("a request could not be told of")
            del seen

    def _tell(self, seen: _Traced | SeenRun) -> None:
        spans = self._spans
        if isinstance(seen, SeenRun):
            trace_ids = spans.of_run(seen) if spans is not None else ()
            if seen.is_logged:
                log_run(seen, trace_ids, self._budget.left_out(ANSWERED))
            return
        trace_id = spans.of_refusal(seen.refusal) if spans is not None and seen.is_traced else ""
        if seen.left_out is not None:
            log_refusal(seen.refusal, trace_id, seen.left_out + self._budget.left_out(seen.refusal.reason))


def check_tracing(settings: Settings) -> None:
    """Check that traces can be exported, if they are asked for.

    Raises:
        StartError: If they cannot.
    """
    if settings.traces:
        try:
            check_traces()
        except TracesUnavailable as error:
            raise StartError(str(error)) from error


@contextlib.contextmanager
def requests_told(settings: Settings) -> Iterator[None]:
    """Log and trace the requests of this process inside the block, as the settings say.

    Raises:
        StartError: If traces are asked for and cannot be exported.
    """
    check_tracing(settings)
    traces = start_traces() if settings.traces else None
    with requests_observed(settings.log_requests, None if traces is None else Spans(traces)):
        yield


@contextlib.contextmanager
def requests_observed(log_requests: str, spans: Spans | None = None) -> Iterator[None]:
    """Have this process tell of its requests inside the block.

    Args:
        log_requests: One of `LOG_REQUESTS`.
        spans: Maker of spans; None where there are to be none.
    """
    if log_requests == "none" and spans is None:
        yield
        return
    observer = RequestObserver(log_requests, spans)
    before = observed.refusals, observed.runs
    observed.refusals = observer if observer.wants_refusals else None
    observed.runs = observer if observer.wants_runs else None
    try:
        yield
    finally:
        observed.refusals, observed.runs = before
        observer.close()
