"""Export OpenTelemetry traces over OTLP, turned on by OTEL_TRACES_EXPORTER=otlp and configured by other variables.

These are the SDK's own variables (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/).
They set the destination (OTEL_EXPORTER_OTLP_ENDPOINT, …_HEADERS), the sampling (OTEL_TRACES_SAMPLER), the description
of the process (OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME) and the queue size (OTEL_BSP_MAX_QUEUE_SIZE).
"""

import os
import threading
from typing import TYPE_CHECKING

from rnnserve.common.extras import missing_package

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

__all__ = ["TracesUnavailable", "check_traces", "end_traces", "start_traces", "traces_to"]

_PROTOCOL = "http/protobuf"
_EXPORTER = "OTEL_TRACES_EXPORTER"
_KNOWN = {
    _EXPORTER: ("otlp", "none"),
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": (_PROTOCOL,),
    "OTEL_EXPORTER_OTLP_PROTOCOL": (_PROTOCOL,),
}
"""The possible values of variables, except empty ones."""

_SERVICE_NAME = "rnnserve"
_END_SECONDS = 1.0


class TracesUnavailable(Exception):
    """Traces cannot be exported with these settings. The message is for the user."""


def check_traces() -> None:
    """If traces are on, raise TracesUnavailable without the extra `otel`, or for another exporter or protocol."""
    if os.environ.get(_EXPORTER, "") in ("", "none"):
        return
    try:
        import opentelemetry.exporter.otlp.proto.http
        import opentelemetry.sdk  # noqa: F401
    except ModuleNotFoundError as missing:
        raise TracesUnavailable(f"{_EXPORTER} {missing_package(missing.name, 'otel')}") from missing
    for variable, known in _KNOWN.items():
        if os.environ.get(variable, "") not in ("", *known):
            said = f"{variable}={os.environ[variable]}; expected {' or '.join(known)}"
            raise TracesUnavailable(f"cannot export traces over OTLP and {_PROTOCOL}: {said}")


def start_traces() -> "TracerProvider | None":
    """Start the export over OTLP. Returns None unless the environment turns it on. May raise TracesUnavailable."""
    check_traces()
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get(_EXPORTER, "") in ("", "none"):
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # The processor exports on its own thread. Its queue is bounded: when it is full, new spans are dropped.
    return traces_to(BatchSpanProcessor(OTLPSpanExporter()))


def traces_to(processor: "SpanProcessor") -> "TracerProvider":
    """Return a provider whose spans go to `processor`. The environment's sampler decides which ones are recorded."""
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider

    is_named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    resource = Resource.create({} if is_named else {SERVICE_NAME: _SERVICE_NAME})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return provider


def end_traces(provider: "TracerProvider") -> None:
    """Export the pending spans, but stop after one second, because the collector may not respond."""
    closing = threading.Thread(target=provider.shutdown, name="spans", daemon=True)
    closing.start()
    closing.join(_END_SECONDS)
