"""The log has a line for each refused request, or for all, with the request id of the client, on every transport."""

import logging
from typing import Any

import grpc
import numpy as np
import pytest

from kit.inference_requests import request
from kit.sequence_requests import walk
from kit.waiting import until
from rnnserve.protos.protocol_words import REQUEST_ID
from rnnserve.server.errors import InvalidRequest, ServeError
from rnnserve.server.observing.observer import observed, requests_observed, tell_refusal
from rnnserve.server.observing.origins import Origin

MODEL = "direction_simple"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
def lines(caplog):
    """The fields of each log line about a request."""
    caplog.set_level(logging.INFO)

    def found():
        return [record.request_fields for record in caplog.records if hasattr(record, "request_fields")]

    return found


def good(id="", steps=4, rows=1, outputs=("logits",)):
    return request(MODEL, {"input": np.concatenate([walk(steps)] * rows)}, outputs, id=id)


def wrong(id=""):
    message = good(id)
    message.inputs[0].shape[2] = 3
    return message


def refused(call, *args, **more):
    with pytest.raises(grpc.RpcError) as told:
        call(*args, **more)
    metadata: Any = told.value.trailing_metadata()
    return dict(metadata)[REQUEST_ID]


def test_refused_request_is_logged_with_the_id_of_its_client(stub, lines):
    metadata = ((REQUEST_ID, "mine-7"), ("traceparent", TRACEPARENT))
    with requests_observed("errors"):
        assert refused(stub.ModelInfer, wrong(id="in-message"), metadata=metadata) == "mine-7"
        stub.ModelInfer(good())
    (line,) = lines()
    peer = line.pop("peer")
    assert peer.startswith("ipv4:127.0.0.1:")
    assert line.pop("queue_seconds") >= 0
    assert line == {
        "request_id": "mine-7",
        "message_id": "in-message",
        "trace_id": TRACE,
        "model": MODEL,
        "version": "1",
        "status": "INVALID_ARGUMENT",
        "reason": "invalid_request",
        "field": "inputs[0].shape",
        "run_seconds": 0.0,
    }


def test_response_has_an_id_at_every_log_level(stub, lines):
    with requests_observed("none"):
        assert observed.refusals is None
        assert refused(stub.ModelInfer, wrong(), metadata=((REQUEST_ID, "mine"),)) == "mine"
        assert refused(stub.ModelInfer, wrong())
    assert lines() == []


def test_log_lines_contain_no_client_data(stub, lines, caplog):
    unknown = good()
    unknown.model_name = "secret-name"
    with requests_observed("errors"):
        refused(stub.ModelInfer, unknown)
        refused(stub.ModelInfer, unknown, metadata=((REQUEST_ID, "no good id"),))
        infinite = request(MODEL, {"input": np.full((1, 4, 2), np.inf, "f4")})
        refused(stub.ModelInfer, infinite)
    assert [(line["model"], line["reason"]) for line in lines()] == [
        ("other", "not_found"), ("other", "not_found"), (MODEL, "invalid_request"),
    ]  # fmt: skip
    for text in ("secret-name", "no good id", "inf"):
        assert text not in str(lines())


def test_each_request_of_a_stream_is_logged(stub, lines):
    with requests_observed("errors"):
        said = list(stub.ModelStreamInfer(iter([wrong("one"), good("two"), wrong()]), metadata=((REQUEST_ID, "all"),)))
    assert [bool(each.error_message) for each in said] == [True, False, True]
    assert [(line["request_id"], line.get("message_id")) for line in lines()] == [("all", "one"), ("all", None)]


def test_all_requests_are_logged_on_demand(stub, lines):
    with requests_observed("all"):
        stub.ModelInfer(good("first"))
        for _ in range(3):
            stub.ModelInfer(good("again"))
        stub.ModelInfer(good("rows", rows=3))
        stub.ModelInfer(good("large", steps=4000, rows=30))
        list(stub.ModelStreamInfer(iter([good("streamed")])))
        refused(stub.ModelInfer, wrong("wrong"))
        until(lambda: len(lines()) == 8)  # a client may have its answer before
    found = {line["request_id"]: line for line in lines()}
    assert [line["request_id"] for line in lines()].count("again") == 3
    assert {name: (line["status"], line.get("rows")) for name, line in found.items()} == {
        "first": ("OK", 1),
        "again": ("OK", 1),
        "rows": ("OK", 3),
        "large": ("OK", 30),
        "streamed": ("OK", 1),
        "wrong": ("INVALID_ARGUMENT", None),
    }
    assert all(line["model"] == MODEL and line["run_seconds"] > 0 for line in lines() if line["status"] == "OK")
    assert all(line["queue_seconds"] >= 0 for line in lines())


class Asked:
    def origin(self):
        return Origin("peer", "id")


def test_flood_of_errors_is_sampled(lines):
    with requests_observed("errors"):
        for _ in range(2000):
            tell_refusal(Asked(), InvalidRequest("x"))
        tell_refusal(Asked(), ServeError("x"))
    reasons = [line["reason"] for line in lines()]
    assert 10 <= reasons.count("invalid_request") < 100  # and one a second more, on a machine that is slow
    assert reasons.count("internal_error") == 1
