"""Requests that the gateway refuses are in its log, all others in the server's."""

import logging

import grpc
import pytest

from kit.fakes import FakeModels
from kit.gateways import FakeUpstream, ask, walk_model
from rnnserve.web.app.application import Application
from rnnserve.web.app.request_log import RequestLog
from rnnserve.web.app.routes import all_routes
from rnnserve.web.errors import RestError, error_of_status

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
    return Application(upstream, all_routes(), **more)


def test_gateway_refusal_is_logged_with_the_id_of_the_answer(lines):
    headers = {"X-Request-Id": "mine", "traceparent": f"00-{TRACE}-{PARENT}-01"}
    said = ask(application(fake()), PATH, b'{"inputs": [secret', headers=headers)
    assert (said.status, said.json["id"], said.headers["x-request-id"]) == (400, "mine", "mine")
    made = ask(application(fake()), "/nowhere")
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
        (RestError(503, "no server responds"), 1),
        (ValueError("a defect"), 1),
    ],
)
def test_server_refusal_is_not_logged_by_the_gateway(lines, error, count):
    said = ask(application(fake(ModelInfer=error)), PATH, GOOD)
    assert said.json["id"] == said.headers["x-request-id"]
    assert [line["request_id"] for line in lines()] == [said.json["id"]] * count


def test_request_log_can_be_disabled(lines):
    ask(application(fake(), requests=RequestLog("none")), PATH, b"{")
    assert lines() == []
