"""Observing requests: refusals and runs are put into a queue, and a thread writes the lines and makes the spans.

Whatever happens to the log and to what collects spans, the threads that answer only put something into the queue. What
does not fit there is left out, and the next line of the kind says how much that was.
"""

import contextlib
import logging
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from rnnserve.common.request_lines import LineBudget, log_request, trace_id_of
from rnnserve.common.telemetry import Traces
from rnnserve.server.clock import now
from rnnserve.server.counting.places import REFUSALS, REFUSED, refusal_place
from rnnserve.server.counting.table import Counts, answering, used_table
from rnnserve.server.errors import ServeError
from rnnserve.server.observing.origins import Origin
from rnnserve.server.observing.spans import SeenRequest, Spans

__all__ = ["RequestObserver", "observed", "requests_observed", "tell_refusal"]

_log = logging.getLogger(__name__)

_MOST_WAITING = 4096
"""Refusals and runs that wait to be reported, each of some kB at most. Beyond it: they are counted in the next line."""

_END_SECONDS = 1.0
"""Seconds at the end for what waits."""

_NONE: Mapping[str, int] = {}


class _Watched:
    """A member of a batch whose run is observed: notes whether its answer was sent. A refusal is told by itself."""

    __slots__ = ("_member", "is_sent", "origin")

    def __init__(self, member: Any) -> None:  # noqa: ANN401 - each kind of batch has its own
        self._member = member
        self.origin: Origin = member.origin()
        self.is_sent = False

    def answer(self, answer: Any) -> None:  # noqa: ANN401 - likewise
        """Send the answer."""
        unsent = answering.unsent
        self._member.answer(answer)
        self.is_sent = answering.unsent == unsent

    def refuse(self, error: ServeError) -> None:
        """Send an error."""
        self._member.refuse(error)


class _Seen(NamedTuple):
    """Requests of one refusal or run, and the lines left out before them; None if they have no line."""

    requests: list[SeenRequest]
    left_out: int | None


class RequestObserver:
    """Keeps what it is told until its thread has written the lines and made the spans. Any thread may tell it."""

    def __init__(self, log_requests: str, spans: Spans | None) -> None:
        """Start the thread. One of `LOG_REQUESTS` says which requests have a line; without spans, none has a span."""
        self._log_requests = log_requests
        self._spans = spans
        self._budget = LineBudget()
        self._waiting: queue.SimpleQueue[_Seen | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._loop, name="requests", daemon=True)
        self._thread.start()

    def refused(self, origin: Origin, error: ServeError) -> None:
        """Note a refusal."""
        status, reason = REFUSALS[refusal_place(error) - REFUSED]
        left_out: int | None = None
        if self._log_requests == "errors":
            left_out = self._budget.take(reason)
        elif self._log_requests == "all":
            left_out = 0
        if left_out is None and not self._may_have_span(origin):
            return
        at = now()
        arrived, began = error.arrived or at, at - error.run_seconds
        request = SeenRequest(origin, error.counts, error.rows, arrived, began, at, _NONE, status, reason, error.field)
        self._put(_Seen([request], left_out))

    @staticmethod
    def watched(members: Sequence[Any]) -> list[Any]:
        """What to answer in place of the members of a batch, and to give to `ran` after that."""
        return [_Watched(member) for member in members]

    def ran(
        self,
        counts: Counts,
        members: Sequence[_Watched],
        rows: Sequence[int],
        arrivals: Sequence[float],
        times: tuple[float, float],
        padded_steps: int,
    ) -> None:
        """Note a run, and which of its requests have their answers; times are its begin and end."""
        is_logged = self._log_requests == "all"
        batch = {"requests": len(members), "rows": sum(rows), "padded_steps": padded_steps}
        requests = [
            SeenRequest(member.origin, counts, of_member, arrived, *times, batch)
            for member, of_member, arrived in zip(members, rows, arrivals, strict=True)
            if member.is_sent and (is_logged or self._may_have_span(member.origin))
        ]
        if requests:
            self._put(_Seen(requests, 0 if is_logged else None))

    def close(self) -> None:
        """Tell what waits, within a second, and end the thread."""
        self._waiting.put(None)
        self._thread.join(_END_SECONDS)
        if self._spans is not None:
            self._spans.close()

    def _may_have_span(self, origin: Origin) -> bool:
        return self._spans is not None and self._spans.may_be_sampled(origin)

    def _put(self, seen: _Seen) -> None:
        if self._waiting.qsize() < _MOST_WAITING:
            self._waiting.put(seen)
        elif self._log_requests != "none":
            self._budget.leave_out(seen.requests[0].kind, len(seen.requests) + (seen.left_out or 0))

    def _loop(self) -> None:
        while (seen := self._waiting.get()) is not None:
            try:
                self._tell(seen)
            except Exception:  # noqa: BLE001 - a defect here costs a line, and no answer
                _log.exception("a request could not be reported")
            del seen

    def _tell(self, seen: _Seen) -> None:
        first, table = seen.requests[0], used_table()
        model, version = table.name_of(table.other if first.counts is None else first.counts)
        left_out = None if seen.left_out is None else seen.left_out + self._budget.left_out(first.kind)
        for request in seen.requests:
            trace_id = "" if self._spans is None else self._spans.of(request, model, version)
            if left_out is None:
                continue
            fields = {
                "request_id": request.origin.request_id,
                "message_id": request.origin.message_id,
                "trace_id": trace_id or trace_id_of(request.origin.traceparent),
                "peer": request.origin.peer,
                "model": model,
                "version": version,
                "rows": request.rows or None,
                "status": request.status,
                "reason": request.reason,
                "field": request.field,
                "queue_seconds": request.queue_seconds,
                "run_seconds": request.ended - request.began,
            }
            log_request(fields, has_failed=bool(request.reason), left_out=left_out)
            left_out = 0


class _Observed:
    """What observes refusals and runs in this process; None if nothing does."""

    refusals: RequestObserver | None = None
    runs: RequestObserver | None = None


observed = _Observed()


class _Asked(Protocol):
    def origin(self) -> Origin:
        """Say where it comes from. Before it is answered: what it was made of may be dropped then."""


def tell_refusal(asked: _Asked, error: ServeError) -> str:
    """Report the refusal of a request that has not been answered yet, and return the id that its client is told."""
    origin = asked.origin()
    observer = observed.refusals
    if observer is not None:
        observer.refused(origin, error)
    return origin.request_id


@contextlib.contextmanager
def requests_observed(log_requests: str, traces: Traces | None = None) -> Iterator[None]:
    """Log the requests of this process inside the block, by one of `LOG_REQUESTS`, and make their spans."""
    if log_requests == "none" and traces is None:
        yield
        return
    observer = RequestObserver(log_requests, None if traces is None else Spans(traces))
    before = observed.refusals, observed.runs
    observed.refusals = observer
    observed.runs = observer if log_requests == "all" or traces is not None else None
    try:
        yield
    finally:
        observed.refusals, observed.runs = before
        observer.close()
