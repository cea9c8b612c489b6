"""What the front itself refuses is found by its id, in its log and in traces. The rest, in the server's."""

import logging

import grpc
import pytest

from kit.fakes import FakeModels
from kit.fronts import FakeUpstream, ask_application, walk_model
from rnnserve.common.telemetry import traces_to
from rnnserve.web.app.application import Application
from rnnserve.web.app.http_spans import HttpSpans
from rnnserve.web.app.request_log import RequestLog
from rnnserve.web.app.site import site_routes
from rnnserve.web.errors import RestError
from rnnserve.web.upstream.statuses import error_of_status

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PATH = "/v2/models/secret-name/infer"
GOOD = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}'


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO)

    def found():
        return [record.request_fields for record in caplog.records if hasattr(record, "request_fields")]

    return found


def fake(**answers):
    upstream = FakeUpstream(FakeModels({"secret-name": walk_model()}))
    upstream.answers = answers
    return upstream


def application(upstream, **more):
    return Application(upstream, site_routes(), **more)


def test_what_the_front_refuses_has_a_line_with_the_id_of_the_answer(lines):
    headers = {"X-Request-Id": "mine", "traceparent": f"00-{TRACE}-{PARENT}-01"}
    said = ask_application(application(fake()), PATH, b'{"inputs": [secret', headers=headers)
    assert (said.status, said.json["id"], said.headers["x-request-id"]) == (400, "mine", "mine")
    made = ask_application(application(fake()), "/nowhere")
    first, second = lines()
    assert first.pop("peer").startswith("http:")
    assert first == {
        "request_id": "mine",
        "trace_id": TRACE,
        "method": "POST",
        "route": "/v2/models/{model}/infer",
        "status": 400,
        "reason": "bad_request",
    }
    assert (second["request_id"], second["status"], second["reason"]) == (made.json["id"], 404, "not_found")
    assert "secret" not in str(lines())


@pytest.mark.parametrize(
    ("error", "count"),
    [
        (error_of_status(grpc.StatusCode.INVALID_ARGUMENT, "no"), 0),
        (RestError(503, "no server answers"), 1),
        (ValueError("a defect"), 1),
    ],
)
def test_what_the_server_refuses_is_in_its_log(lines, error, count):
    said = ask_application(application(fake(ModelInfer=error)), PATH, GOOD)
    assert said.json["id"] == said.headers["x-request-id"]
    assert [line["request_id"] for line in lines()] == [said.json["id"]] * count


def test_before_a_server_elsewhere_the_front_has_lines_of_all_that_is_wanted(lines):
    refusing = fake(ModelInfer=error_of_status(grpc.StatusCode.INVALID_ARGUMENT, "no"))
    ask_application(application(refusing, requests=RequestLog("errors", has_server_log=False)), PATH, GOOD)
    ask_application(application(fake(), requests=RequestLog("errors", has_server_log=False)), PATH, GOOD)
    ask_application(application(fake(), requests=RequestLog("all", has_server_log=False)), PATH, GOOD)
    ask_application(application(fake(), requests=RequestLog("all")), PATH, GOOD)
    ask_application(application(refusing, requests=RequestLog("none")), PATH, GOOD)
    assert [(line["status"], line.get("reason")) for line in lines()] == [(400, "bad_request"), (200, None)]


@pytest.fixture
def spans(monkeypatch):
    pytest.importorskip("opentelemetry.sdk", reason="the extra `otel` is not installed")
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    monkeypatch.delenv("OTEL_TRACES_SAMPLER", raising=False)
    exporter = InMemorySpanExporter()
    maker = HttpSpans(traces_to(SimpleSpanProcessor(exporter)))
    return maker, exporter.get_finished_spans


def test_request_has_a_span_whose_context_goes_on(spans):
    maker, finished = spans
    upstream = fake()
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1", "X-Request-Id": "mine"}
    ask_application(application(upstream, spans=maker), PATH, GOOD, headers=headers)
    (span,) = finished()
    assert span.name == "POST /v2/models/{model}/infer"
    assert f"{span.context.trace_id:032x} {span.parent.span_id:016x}" == f"{TRACE} {PARENT}"
    told = dict(upstream.asked[-1][2].metadata)
    assert told["traceparent"] == f"00-{TRACE}-{span.context.span_id:016x}-01"
    assert told["tracestate"] == "vendor=1"
    said = dict(span.attributes)
    assert said.pop("client.address")
    assert said == {
        "http.request.method": "POST",
        "http.route": "/v2/models/{model}/infer",
        "http.response.status_code": 200,
        "url.scheme": "http",
        "rnnserve.request.id": "mine",
    }
