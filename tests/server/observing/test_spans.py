"""Spans of requests: their parents, their attributes, and when there are none."""

import os

import grpc
import pytest

from kit.inference_requests import request
from kit.sequence_requests import walk
from kit.waiting import until
from rnnserve.common.telemetry import TracesUnavailable, check_traces, start_traces, traces_to
from rnnserve.protos.protocol_words import REQUEST_ID
from rnnserve.server.observing.observer import requests_observed

pytest.importorskip("opentelemetry.sdk", reason="the extra `otel` is not installed")

MODEL = "direction_simple"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = (("traceparent", f"00-{TRACE}-{PARENT}-{flags}") for flags in ("01", "00"))


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def traced(stub):
    """Sends requests and returns their spans."""
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    def ask(ask, count, log_requests="none"):
        exporter = InMemorySpanExporter()
        with requests_observed(log_requests, traces_to(SimpleSpanProcessor(exporter))):
            ask(stub)
            # A client may have its answer before.
            until(lambda: [span.name for span in exporter.get_finished_spans()].count("request") == count)
        return exporter.get_finished_spans()

    return ask


def message(steps=4):
    return request(MODEL, {"input": walk(steps)}, ("logits",))


def hex_of(span):
    return f"{span.context.trace_id:032x}"


def named(spans, name):
    (span,) = [span for span in spans if span.name == name]
    return span


def wrong():
    broken = message()
    broken.inputs[0].shape[2] = 3
    return broken


def refused(stub, *metadata):
    with pytest.raises(grpc.RpcError):
        stub.ModelInfer(wrong(), metadata=metadata)


def test_request_queue_and_run_spans_join_the_clients_trace(traced):
    metadata = (SAMPLED, ("tracestate", "vendor=1"), (REQUEST_ID, "mine"))
    spans = traced(lambda stub: stub.ModelInfer(message(), metadata=metadata), 1)
    assert sorted(span.name for span in spans) == ["queue", "request", "run"]
    whole, queue, run = (named(spans, name) for name in ("request", "queue", "run"))
    assert hex_of(whole) == hex_of(queue) == hex_of(run) == TRACE
    assert f"{whole.parent.span_id:016x}" == PARENT
    assert whole.context.trace_state["vendor"] == "1"
    assert queue.parent.span_id == run.parent.span_id == whole.context.span_id
    assert whole.start_time == queue.start_time <= queue.end_time == run.start_time < run.end_time == whole.end_time
    assert whole.kind.name == "SERVER"
    assert dict(whole.attributes) == {
        "rpc.system.name": "grpc",
        "rpc.method": "inference.GRPCInferenceService/ModelInfer",
        "rpc.response.status_code": "OK",
        "client.address": "127.0.0.1",
        "rnnserve.request.id": "mine",
        "rnnserve.request.rows": 1,
        "rnnserve.model.name": MODEL,
        "rnnserve.model.version": "1",
    }
    assert (run.attributes["rnnserve.batch.requests"], run.attributes["rnnserve.batch.rows"]) == (1, 1)


def test_unsampled_request_has_no_spans(traced):
    def ask(stub):
        stub.ModelInfer(message(), metadata=(UNSAMPLED,))
        refused(stub, UNSAMPLED)

    assert traced(ask, 0) == ()


def test_refusal_has_an_error_span_whose_trace_is_logged(traced, caplog):
    (span,) = traced(lambda stub: refused(stub, SAMPLED, (REQUEST_ID, "mine")), 1, "errors")
    assert hex_of(span) == TRACE
    assert not span.status.is_ok
    said = dict(span.attributes)
    assert (said["rpc.response.status_code"], said["error.type"]) == ("INVALID_ARGUMENT", "invalid_request")
    assert said["rnnserve.request.id"] == "mine"
    assert caplog.records[-1].request_fields["trace_id"] == TRACE
    (span,) = traced(refused, 1, "errors")
    assert caplog.records[-1].request_fields["trace_id"] == hex_of(span)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
    ],
)
def test_unsupported_exporters_are_refused(monkeypatch, variable, value):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv(variable, value)
    with pytest.raises(TracesUnavailable, match=f"{variable}={value}"):
        check_traces()


@pytest.mark.parametrize(("variable", "value"), [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")])
def test_environment_switches_traces_off(monkeypatch, variable, value):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv(variable, value)
    assert start_traces() is None
