"""Spans of OpenTelemetry: one for each request over HTTP, whose context goes to the server with what is asked there."""

from typing import TYPE_CHECKING

from starlette.types import Scope

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from rnnserve.common.telemetry import Traces

__all__ = ["HttpSpans"]

_TRACEPARENT, _TRACESTATE = b"traceparent", b"tracestate"
_UNSAMPLED = b"00"
_METHODS = frozenset(("GET", "HEAD", "POST", "OPTIONS"))


class HttpSpans:
    """Makes the spans. For one loop; they are exported on another thread."""

    def __init__(self, traces: "Traces") -> None:
        """Prepare.

        Args:
            traces: Traces of this process.
        """
        from opentelemetry import context, trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer = traces.tracer
        self._trace = trace
        self._no_context = context.Context()
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, scope: Scope) -> "Span | None":
        """Begin a request's span, and put its context among the headers of the request.

        Returns:
            The span, or None where the client, or the sampler, has said that the trace is not recorded: then the
            headers stay as they are.
        """
        said = {
            name: value.decode("latin-1") for name, value in scope["headers"] if name in (_TRACEPARENT, _TRACESTATE)
        }
        parent = said.get(_TRACEPARENT, "")
        if parent[53:55] == _UNSAMPLED.decode():
            return None
        carrier = {name.decode(): value for name, value in said.items()}
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        client = scope.get("client")
        span = self._tracer.start_span(
            method,
            self._propagator.extract(carrier, self._no_context) if parent else self._no_context,
            kind=self._trace.SpanKind.SERVER,
            attributes={
                "http.request.method": method,
                "url.scheme": scope.get("scheme", "http"),
                "client.address": client[0] if client else "",
                "rnnserve.request.id": scope["rnnserve.id"],
            },
        )
        if not span.is_recording():
            return None
        own: dict[str, str] = {}
        self._propagator.inject(own, self._trace.set_span_in_context(span, self._no_context))
        others = [field for field in scope["headers"] if field[0] not in (_TRACEPARENT, _TRACESTATE)]
        scope["headers"] = [*others, *((name.encode(), value.encode()) for name, value in own.items())]
        return span

    def end(self, span: "Span", scope: Scope) -> None:
        """End a request's span: with its route, and the status that was sent."""
        route = getattr(scope.get("route"), "path", "")
        if route:
            span.update_name(f"{scope['method']} {route}")
            span.set_attribute("http.route", route)
        status = scope.get("rnnserve.status")
        if status is None:
            span.set_attribute("error.type", "client_gone")
        else:
            span.set_attribute("http.response.status_code", status)
            if status >= 500:
                span.set_attribute("error.type", str(status))
                span.set_status(self._trace.StatusCode.ERROR)
        span.end()
