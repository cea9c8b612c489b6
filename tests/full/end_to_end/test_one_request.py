"""One failing request is found by its id: from its client's error to the log to the trace, over gRPC and HTTP."""

import http.server
import json
import os
import threading
import urllib.error
import urllib.request
from typing import Any

import grpc
import pytest

from kit.inference_requests import request
from kit.sequence_requests import walk
from kit.served import served_process
from kit.waiting import until
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.protos.protocol_words import REQUEST_ID

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
MODEL = "direction_simple"


class Collector(http.server.BaseHTTPRequestHandler):
    """Takes spans over OTLP/HTTP."""

    bodies: list[bytes] = []  # noqa: RUF012 - all that has come: each request has a handler of its own

    def do_POST(self):
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def collector():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        Collector.bodies.clear()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def collected():
    """What has come so far: name, trace, and attributes of each span."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    found = []
    for body in list(Collector.bodies):
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for span in [span for scope in resource.scope_spans for span in scope.spans]:
                said = {entry.key: entry.value.string_value or entry.value.int_value for entry in span.attributes}
                found.append((span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), said))
    return found


def lines_of(process):
    lines = [json.loads(line) for line in process.log.splitlines()]
    return {line["request_id"]: line for line in lines if "request_id" in line}


def post(url, body, **headers):
    asked = urllib.request.Request(url, body, {"Content-Type": "application/json", **headers})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asked, timeout=30)
    return refused.value.headers["X-Request-Id"], json.loads(refused.value.read())


def test_from_the_clients_error_to_the_log_to_the_trace(repository, monkeypatch, collector):
    pytest.importorskip("opentelemetry.sdk", reason="the extra `otel` is not installed")
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    broken = request(MODEL, {"input": walk(4)})
    broken.inputs[0].shape[2] = 3
    tensor = {"name": "input", "datatype": "FP32", "shape": [1, 1, 3], "data": [[[1, 2, 3]]]}
    text = json.dumps({"inputs": [tensor], "id": "of-the-body"}).encode()
    with served_process(repository, http_port=0, log_format="json") as process:
        url = f"http://{process.http_address}/v2/models/{MODEL}/infer"
        with process.channel() as channel, pytest.raises(grpc.RpcError) as refused:
            rpc.GRPCInferenceServiceStub(channel).ModelInfer(broken)
        metadata: Any = refused.value.trailing_metadata()
        over_grpc = dict(metadata)[REQUEST_ID]
        mine, said = post(url, text, **{"X-Request-Id": "mine", "traceparent": f"00-{TRACE}-{PARENT}-01"})
        assert (mine, said["id"]) == ("mine", "mine")
        at_the_front, said = post(url, b"{")
        assert at_the_front == said["id"]
        wanted = {over_grpc, "mine", at_the_front}
        until(lambda: wanted <= lines_of(process).keys())

        def told():
            return {(said.get("rnnserve.request.id"), name.split(" ")[0]) for name, *_, said in collected()}

        expected = {(over_grpc, "request"), ("mine", "request")}
        until(lambda: expected <= told())
    lines, spans = lines_of(process), collected()
    assert [lines[name]["status"] for name in (over_grpc, "mine", at_the_front)] == [
        "INVALID_ARGUMENT", "INVALID_ARGUMENT", 400,
    ]  # fmt: skip
    assert (lines["mine"]["message_id"], lines["mine"]["peer"].split(":")[0]) == ("of-the-body", "http")
    by_name = {(said["rnnserve.request.id"], name.split(" ")[0]): rest for name, *rest, said in spans}
    assert lines[over_grpc]["trace_id"] == by_name[over_grpc, "request"][0]
    trace, _, parent = by_name["mine", "request"]
    assert (trace, lines["mine"]["trace_id"], parent) == (TRACE, TRACE, PARENT)
