"""Spans of OpenTelemetry: of each request, its wait and its run; and of each batch, linked to its requests.

::

    (the client's span, or the gateway's)      batch     a trace of its own; links to the requests
    └── request   server                       ▲
        ├── queue                              │
        └── run ───────────────────────────────┘ a link

Requests whose client has said that it does not record its trace have none.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from rnnserve.server.clock import now
from rnnserve.server.observing.origins import Origin
from rnnserve.server.observing.request_log import ANSWERED, Refusal, model_of
from rnnserve.server.observing.runs import SeenRun

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from rnnserve.common.telemetry import Traces

__all__ = ["Spans"]

_SERVICE = "inference.GRPCInferenceService"
_UNSAMPLED = "00"


class Spans:
    """Makes the spans of what has been told. For one thread."""

    def __init__(self, traces: "Traces") -> None:
        """Prepare.

        Args:
            traces: Traces of this process.
        """
        from opentelemetry import context, trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._traces = traces
        self._trace = trace
        self._no_context = context.Context()
        self._propagator = TraceContextTextMapPropagator()

    @staticmethod
    def may_be_sampled(origin: Origin) -> bool:
        """Whether a request may have spans: its client has not said that its trace is not recorded."""
        return not origin.traceparent or origin.traceparent[53:55] != _UNSAMPLED

    def of_run(self, run: SeenRun) -> list[str]:
        """Make the spans of a run; return the trace of each request, empty where it is not recorded."""
        model, version = model_of(run.counts)
        epoch_ns = _wall_clock()
        said = {"rnnserve.model.name": model, "rnnserve.model.version": version}
        requests: list[tuple[Span, float]] = []
        trace_ids: list[str] = []
        for origin, rows, arrived in zip(run.origins, run.rows, run.arrivals, strict=True):
            span = self._request(origin, epoch_ns(arrived), {**said, "rnnserve.request.rows": rows})
            trace_ids.append(_trace_id(span))
            if span.is_recording():
                requests.append((span, arrived))
        if not requests:
            return trace_ids
        links = [self._trace.Link(span.get_span_context()) for span, _ in requests]
        of_batch = {"rnnserve.batch.requests": len(run.origins), "rnnserve.batch.rows": sum(run.rows)}
        batch = self._traces.batches.start_span(
            "batch",
            self._no_context,
            attributes={**said, **of_batch, "rnnserve.batch.padded_steps": run.padded_steps},
            links=links,
            start_time=epoch_ns(run.started),
        )
        batch.end(epoch_ns(run.ended))
        link = [self._trace.Link(batch.get_span_context())]
        for span, arrived in requests:
            self._child(span, "queue", epoch_ns(arrived), epoch_ns(run.started))
            self._child(span, "run", epoch_ns(run.started), epoch_ns(run.ended), links=link)
            span.set_attribute("rpc.response.status_code", ANSWERED)
            span.end(epoch_ns(run.ended))
        return trace_ids

    def of_refusal(self, refusal: Refusal) -> str:
        """Make the spans of a refusal; return its trace, empty where it is not recorded."""
        model, version = model_of(refusal.counts)
        epoch_ns = _wall_clock()
        said = {"rnnserve.model.name": model, "rnnserve.model.version": version}
        span = self._request(refusal.origin, epoch_ns(refusal.arrived), said)
        if not span.is_recording():
            return ""
        began = refusal.ended - refusal.run_seconds
        if began > refusal.arrived:
            self._child(span, "queue", epoch_ns(refusal.arrived), epoch_ns(began))
        if refusal.run_seconds:
            self._child(span, "run", epoch_ns(began), epoch_ns(refusal.ended))
        if refusal.rows:
            span.set_attribute("rnnserve.request.rows", refusal.rows)
        span.set_attribute("rpc.response.status_code", refusal.status)
        span.set_attribute("error.type", refusal.reason)
        span.set_status(self._trace.StatusCode.ERROR)
        trace_id = _trace_id(span)
        span.end(epoch_ns(refusal.ended))
        return trace_id

    def close(self) -> None:
        """Send what waits, within a second."""
        self._traces.close()

    def _request(self, origin: Origin, arrived: int, said: "dict[str, Any]") -> "Span":
        carrier = {"traceparent": origin.traceparent, "tracestate": origin.tracestate}
        return self._traces.requests.start_span(
            "request",
            self._propagator.extract(carrier, self._no_context) if origin.traceparent else self._no_context,
            kind=self._trace.SpanKind.SERVER,
            attributes={
                "rpc.system.name": "grpc",
                "rpc.method": f"{_SERVICE}/{origin.method}" if origin.method else "_OTHER",
                "client.address": _address_of(origin.peer),
                "rnnserve.request.id": origin.request_id,
                **said,
            },
            start_time=arrived,
        )

    def _child(self, request: "Span", name: str, started: int, ended: int, **more: Any) -> None:  # noqa: ANN401 - OpenTelemetry's
        context = self._trace.set_span_in_context(request, self._no_context)
        self._traces.requests.start_span(name, context, start_time=started, **more).end(ended)


def _trace_id(span: "Span") -> str:
    return f"{span.get_span_context().trace_id:032x}" if span.is_recording() else ""


def _wall_clock() -> Callable[[float], int]:
    """What turns times on the clock of `clock` into nanoseconds since the epoch."""
    began = time.time_ns() - round(now() * 1e9)
    return lambda at: began + round(at * 1e9)


def _address_of(peer: str) -> str:
    """The address in a peer's name: 10.0.0.1 of "ipv4:10.0.0.1:50000", with "http:" before it or not."""
    return unquote(peer.removeprefix("http:").partition(":")[2].rpartition(":")[0]).strip("[]") or peer
