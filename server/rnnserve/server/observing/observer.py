"""Observe requests: refusals and batches go into a queue, and a thread turns them into log lines and spans.

A slow log or trace collector never delays the threads that answer, because they only put records into the queue. If the
queue is full, records are dropped, and the next line of the same kind reports how many.
"""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import unquote

from rnnserve.common.log_lines import LineBudget, log_request, trace_id_of
from rnnserve.common.telemetry import end_traces
from rnnserve.server.clock import now
from rnnserve.server.counting.places import REFUSALS, REFUSED, refusal_place
from rnnserve.server.counting.table import Counts, answering, used_table
from rnnserve.server.errors import ServeError
from rnnserve.server.observing.origins import Origin

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

__all__ = ["RequestObserver", "observed", "requests_observed", "tell_refusal"]

_log = logging.getLogger(__name__)

_MOST_WAITING = 4096
"""Refusals and batches that wait to be reported, of a few kB each at most. Beyond it: they are dropped, and the next
line reports how many."""

_END_SECONDS = 1.0
"""Maximum seconds to report the pending records at shutdown."""

_NONE: Mapping[str, int] = {}


class SeenRequest(NamedTuple):
    """An answered or refused request. Times are in seconds on `clock`."""

    origin: Origin
    counts: "Counts | None"  # of the request's version, if known
    rows: int  # 0 if unknown
    arrived: float  # time of the refusal if it never waited
    began: float  # start of inference, or time of the refusal
    ended: float  # end of inference, or time of the refusal
    batch: Mapping[str, int]  # requests, rows and padded steps of its batch (empty for a refusal)
    status: str = "OK"
    reason: str = ""  # name of the server's error class
    field: str = ""  # the invalid field of the request, if there is a single one

    @property
    def kind(self) -> str:
        """Key for counting dropped lines."""
        return self.reason or self.status

    @property
    def queue_seconds(self) -> float:
        """Seconds that the request waited."""
        return max(self.began - self.arrived, 0.0)


class Spans:
    """Creates the spans of requests. Not thread-safe."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry import context, trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("rnnserve")
        self._trace = trace
        self._no_context = context.Context()
        self._propagator = TraceContextTextMapPropagator()

    @staticmethod
    def may_be_sampled(origin: Origin) -> bool:
        """Return whether a request may have spans. It may not if its client marked the trace as not recorded."""
        return not origin.traceparent or origin.traceparent[53:55] != "00"

    def of(self, request: SeenRequest, model: str, version: str) -> str:
        """Create the spans of a request. Return its trace id, or an empty string if it isn't recorded."""
        origin = request.origin
        if not self.may_be_sampled(origin):
            return ""
        epoch = time.time_ns() - round(now() * 1e9)
        arrived, began, ended = (epoch + round(at * 1e9) for at in (request.arrived, request.began, request.ended))
        carrier = {"traceparent": origin.traceparent, "tracestate": origin.tracestate}
        whole = self._tracer.start_span(
            "request",
            self._propagator.extract(carrier, self._no_context) if origin.traceparent else self._no_context,
            kind=self._trace.SpanKind.SERVER,
            attributes={
                "rpc.system.name": "grpc",
                "rpc.method": f"inference.GRPCInferenceService/{origin.method}" if origin.method else "_OTHER",
                "rpc.response.status_code": request.status,
                "client.address": _address_of(origin.peer),
                "rnnserve.request.id": origin.request_id,
                "rnnserve.model.name": model,
                "rnnserve.model.version": version,
            },
            start_time=arrived,
        )
        if not whole.is_recording():
            return ""
        if request.rows:
            whole.set_attribute("rnnserve.request.rows", request.rows)
        if request.reason:
            whole.set_attribute("error.type", request.reason)
            whole.set_status(self._trace.StatusCode.ERROR)
        if began > arrived or request.batch:
            self._child(whole, "queue", arrived, began)
        if ended > began:
            self._child(whole, "run", began, ended, request.batch)
        whole.end(ended)
        return f"{whole.get_span_context().trace_id:032x}"

    def close(self) -> None:
        """Export the pending spans, within a second."""
        end_traces(self._provider)

    def _child(self, whole: "Span", name: str, began: int, ended: int, batch: Mapping[str, int] | None = None) -> None:
        context = self._trace.set_span_in_context(whole, self._no_context)
        attributes = {f"rnnserve.batch.{what}": number for what, number in (batch or {}).items()}
        self._tracer.start_span(name, context, attributes=attributes, start_time=began).end(ended)


def _address_of(peer: str) -> str:
    """Return the address in a peer's name: 10.0.0.1 for "ipv4:10.0.0.1:50000", with or without "http:" before it."""
    return unquote(peer.removeprefix("http:").partition(":")[2].rpartition(":")[0]).strip("[]") or peer


class _Watched:
    """A member of an observed batch. Records whether its response was sent. Refusals are reported separately."""

    __slots__ = ("_member", "is_sent", "origin")

    def __init__(self, member: Any) -> None:  # noqa: ANN401 - depends on the kind of batch
        self._member = member
        self.origin: Origin = member.origin()
        self.is_sent = False

    def answer(self, answer: Any) -> None:  # noqa: ANN401 - depends on the kind of batch
        """Send the response."""
        unsent = answering.unsent
        self._member.answer(answer)
        self.is_sent = answering.unsent == unsent

    def refuse(self, error: ServeError) -> None:
        """Send an error."""
        self._member.refuse(error)


class _Seen(NamedTuple):
    """The requests of one refusal or batch, and the number of lines dropped before (None without a line)."""

    requests: list[SeenRequest]
    left_out: int | None


class RequestObserver:
    """Queues reported requests until its thread has written their lines and created their spans. Thread-safe."""

    def __init__(self, log_requests: str, spans: Spans | None) -> None:
        """Start the thread. For `log_requests`, see `LOG_REQUESTS`. Without `spans`, it creates no spans."""
        self._log_requests = log_requests
        self._spans = spans
        self._budget = LineBudget()
        self._waiting: queue.SimpleQueue[_Seen | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._loop, name="requests", daemon=True)
        self._thread.start()

    def refused(self, origin: Origin, error: ServeError) -> None:
        """Report a refusal."""
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
        """Return wrappers for the members of a batch, to be answered instead of them and then passed to `ran`."""
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
        """Report a batch and which of its requests were answered. `times` are its start and end."""
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
        """Report pending records, for a second at most, and end the thread."""
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
            except Exception:  # noqa: BLE001 - a defect here loses a line, but no response
                _log.exception("Cannot report a request")
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
    """The observers of refusals and batches in this process, or None."""

    refusals: RequestObserver | None = None
    runs: RequestObserver | None = None


observed = _Observed()


class _Asked(Protocol):
    def origin(self) -> Origin:
        """Return the request's origin. Call it before the response, which may release the request's data."""


def tell_refusal(asked: _Asked, error: ServeError) -> str:
    """Report the refusal of a request before its response, and return the request id for its client."""
    origin = asked.origin()
    observer = observed.refusals
    if observer is not None:
        observer.refused(origin, error)
    return origin.request_id


@contextlib.contextmanager
def requests_observed(log_requests: str, traces: "TracerProvider | None" = None) -> Iterator[None]:
    """Log the requests of this process within the block (see `LOG_REQUESTS`), and create their spans."""
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
