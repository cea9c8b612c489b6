"""Inference over HTTP: what reaches the server, and in which form its answer comes back."""

import gzip
import json
import zlib
from typing import Any

import grpc
import numpy as np
import pytest

from kit.gateways import FakeUpstream, ask
from rnnserve.web.limits import Limits

PATH = "/v2/models/m/infer"
WALK = np.array([[[1, 2], [3, 4]]], "<f4")
INPUT = {"name": "input", "datatype": "FP32", "shape": [1, 2, 2]}
BODY = json.dumps({"inputs": [{**INPUT, "data": WALK.tolist()}]}).encode()


CODINGS: dict[str, Any] = {"gzip": gzip.compress, "deflate": zlib.compress}


@pytest.fixture
def upstream():
    return FakeUpstream()


def test_json_comes_back_as_json(upstream):
    reply = ask(upstream, PATH, BODY)
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["content-length"] == str(len(reply.body))
    assert "inference-header-content-length" not in reply.headers
    assert reply.json["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [1, 2, 2], "data": [1, 2, 3, 4]}]


def test_model_name_and_version_come_from_the_path(upstream):
    ask(upstream, "/v2/models/a b/versions/3/infer", BODY)
    (_, request, _) = upstream.asked[0]
    assert (request.model_name, request.model_version) == ("a b", "3")


def test_every_response_has_an_id(upstream):
    given = ask(upstream, PATH, json.dumps({"id": "mine", "inputs": json.loads(BODY)["inputs"]}).encode())
    assert given.json["id"] == "mine"
    made = ask(upstream, PATH, BODY, headers={"X-Request-Id": "abc"})
    assert made.json["id"] == made.headers["x-request-id"] == "abc"
    new = ask(upstream, PATH, BODY, headers={"X-Request-Id": "with space"})
    assert new.json["id"] == new.headers["x-request-id"] != "with space"


def test_json_with_a_binary_content_type_is_read(upstream):
    """As aiohttp says of each body, and so tritonclient's asyncio client."""
    kind = {"Content-Type": "application/octet-stream"}
    for body in (BODY, BODY.replace(b"4.0", b"NaN")):
        reply = ask(upstream, PATH, body, headers=kind)
        assert (reply.status, reply.json["outputs"][0]["shape"]) == (200, [1, 2, 2])
    reply = ask(upstream, PATH, WALK.tobytes(), headers=kind)
    assert reply.status == 400
    assert "Inference-Header-Content-Length" in reply.error


@pytest.mark.parametrize(
    ("headers", "status", "said"),
    [
        ({"Inference-Header-Content-Length": "-1"}, 400, "the number of bytes of the decompressed JSON"),
        ({"Inference-Header-Content-Length": "+5"}, 400, "the number of bytes of the decompressed JSON"),
        ({"Inference-Header-Content-Length": "9" * 30}, 400, "the number of bytes of the decompressed JSON"),
        ({"Inference-Header-Content-Length": "99999"}, 400, "the decompressed body has"),
        ({"Content-Encoding": "br"}, 415, "gzip or deflate"),
        ({"Content-Encoding": "gzip"}, 400, "cannot be decompressed"),
        ({"Content-Length": "99999999"}, 413, "--max-body-bytes"),
        ({"Authorization": "Bearer \xe9"}, 400, "not printable ASCII"),
        ({"Authorization": "Bearer " + "a" * 8000}, 431, "at most 7,168 are allowed"),
        ({"Tracestate": "a" * 20_000}, 431, "has 20,000 bytes"),
    ],
)
def test_invalid_headers_are_refused(upstream, headers, status, said):
    reply = ask(upstream, PATH, BODY, headers=headers)
    assert reply.status == status
    assert said in reply.error


def test_repeated_header_length_is_refused(upstream):
    reply = ask(upstream, PATH, BODY, headers={"Inference-Header-Content-Length": "3", "inference-header-Content-length": "4"})  # fmt: skip # noqa: E501
    assert "occurs twice" in reply.error


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_damaged_cut_and_several_compressed_streams_are_refused(upstream, coding):
    whole = CODINGS[coding](BODY)
    assert ask(upstream, PATH, whole, headers={"Content-Encoding": coding}).status == 200
    for wrong, said in (
        (b"no" + whole, "cannot be decompressed"),
        (whole[:-1], "one complete stream"),
        (whole + whole, "one complete stream"),
    ):
        reply = ask(upstream, PATH, wrong, headers={"Content-Encoding": coding})
        assert reply.status == 400
        assert said in reply.error


def test_compressed_bomb_is_refused_by_its_decompressed_size(upstream):
    limits = Limits(max_body_bytes=1 << 20)
    reply = ask(upstream, PATH, gzip.compress(bytes(8 << 20)), headers={"Content-Encoding": "gzip"}, limits=limits)
    assert reply.status == 413
    assert "decompressed" in reply.error


def test_grpc_statuses_become_http_statuses(upstream):
    statuses = {
        "INVALID_ARGUMENT": 400, "NOT_FOUND": 404, "RESOURCE_EXHAUSTED": 429, "UNAVAILABLE": 503,
        "DEADLINE_EXCEEDED": 504, "UNIMPLEMENTED": 501, "UNAUTHENTICATED": 401, "PERMISSION_DENIED": 403,
        "INTERNAL": 500, "FAILED_PRECONDITION": 400, "ABORTED": 400, "ALREADY_EXISTS": 400, "OUT_OF_RANGE": 400,
    }  # fmt: skip
    for code, status in statuses.items():
        upstream.service.failure = grpc.StatusCode[code], "what the server says"
        reply = ask(upstream, PATH, BODY)
        assert (reply.status, reply.error) == (status, "what the server says")
        assert reply.headers.get("retry-after") == ("1" if status in (429, 503) else None)
        assert ("www-authenticate" in reply.headers) == (status == 401)


def test_defect_shows_only_an_error_id(upstream, caplog):
    upstream.answers["ModelInfer"] = RuntimeError("/secret")
    reply = ask(upstream, PATH, BODY)
    assert reply.status == 500
    error_id = reply.error.removeprefix("internal error ")[:8]
    assert "/secret" not in reply.error
    assert error_id in caplog.text


def test_call_passes_on_token_trace_and_peer():
    """The gateway passes the client's address only to a server that believes it."""
    headers = {
        "Authorization": "Bearer t",
        "Traceparent": "00-1-2-01",
        "rnnserve-peer": "ipv4:6.6.6.6:6",
        "Cookie": "c",
    }
    for trusts_peer in (True, False):
        upstream = FakeUpstream(trusts_peer=trusts_peer)
        ask(upstream, PATH, BODY, headers={**headers, "X-Request-Id": "r"})
        said = [("x-request-id", "r"), ("authorization", "Bearer t"), ("traceparent", "00-1-2-01")]
        peer = [("rnnserve-peer", "ipv4:127.0.0.1:50000")] if trusts_peer else []
        assert list(upstream.asked[0][2].metadata) == said + peer
