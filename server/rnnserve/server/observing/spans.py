"""Spans of OpenTelemetry: of each request, its wait and its run.

::

    (the client's span, or the gateway's)
    └── request   server
        ├── queue
        └── run   with the size of its batch

Requests whose client has said that it does not record its trace have none.
"""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from rnnserve.server.clock import now
from rnnserve.server.counting.table import Counts
from rnnserve.server.observing.origins import Origin

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from rnnserve.common.telemetry import Traces

__all__ = ["SeenRequest", "Spans"]


class SeenRequest(NamedTuple):
    """A request that was answered or refused. Times are in seconds on the clock of `clock`."""

    origin: Origin
    counts: "Counts | None"  # of the version that it is for, if that is known
    rows: int  # 0 if not known
    arrived: float  # when it was refused, if it never waited
    began: float  # of its run; when it was refused, if there was none
    ended: float  # of its run, or when it was refused
    batch: Mapping[str, int]  # requests, rows and padded steps of its run; empty for a refusal
    status: str = "OK"
    reason: str = ""  # name of the server's own error
    field: str = ""  # of the request that is wrong, if it is a single one

    @property
    def kind(self) -> str:
        """What its line is counted as, where lines are left out."""
        return self.reason or self.status

    @property
    def queue_seconds(self) -> float:
        """Seconds that it has waited."""
        return max(self.began - self.arrived, 0.0)


class Spans:
    """Makes the spans of requests. For one thread."""

    def __init__(self, traces: "Traces") -> None:
        from opentelemetry import context, trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._traces = traces
        self._trace = trace
        self._no_context = context.Context()
        self._propagator = TraceContextTextMapPropagator()

    @staticmethod
    def may_be_sampled(origin: Origin) -> bool:
        """Whether a request may have spans: its client has not said that its trace is not recorded."""
        return not origin.traceparent or origin.traceparent[53:55] != "00"

    def of(self, request: SeenRequest, model: str, version: str) -> str:
        """Make the spans of a request; return the id of its trace, empty if it is not recorded."""
        origin = request.origin
        if not self.may_be_sampled(origin):
            return ""
        epoch = time.time_ns() - round(now() * 1e9)
        arrived, began, ended = (epoch + round(at * 1e9) for at in (request.arrived, request.began, request.ended))
        carrier = {"traceparent": origin.traceparent, "tracestate": origin.tracestate}
        whole = self._traces.tracer.start_span(
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
        """Export what waits, within a second."""
        self._traces.close()

    def _child(self, whole: "Span", name: str, began: int, ended: int, batch: Mapping[str, int] | None = None) -> None:
        context = self._trace.set_span_in_context(whole, self._no_context)
        attributes = {f"rnnserve.batch.{what}": number for what, number in (batch or {}).items()}
        self._traces.tracer.start_span(name, context, attributes=attributes, start_time=began).end(ended)


def _address_of(peer: str) -> str:
    """The address in a peer's name: 10.0.0.1 of "ipv4:10.0.0.1:50000", with "http:" before it or not."""
    return unquote(peer.removeprefix("http:").partition(":")[2].rpartition(":")[0]).strip("[]") or peer
