"""The direct way and the general way: whatever comes, both answer it with the same bytes."""

import contextlib
import functools
import itertools
import json
import re
import socket
import struct

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kit.fronts import LONGEST, FakeUpstream, rest_of, running_front
from rnnserve.common import request_lines
from rnnserve.protos.protocol_words import PEER
from rnnserve.web.app import edge
from rnnserve.web.app.application import FrontLimits
from rnnserve.web.upstream.statuses import error_of_status

TENSOR = {"name": "input", "datatype": "FP32", "shape": [1, 2, 2], "data": [[[1, 2], [3, 4.5]]]}
WHOLE = {"inputs": [TENSOR], "outputs": [{"name": "y"}]}
BINARY = {"name": "input", "datatype": "FP32", "shape": [1, 2, 2], "parameters": {"binary_data_size": 16}}
PLAIN = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def upstreams():
    """With a stream, and without."""
    return FakeUpstream(), FakeUpstream(has_stream=False)


@pytest.fixture(scope="module")
def fronts(upstreams):
    """Ports of fronts that answer at once what they can, and that never do."""
    front = functools.partial(running_front, limits=FrontLimits(max_body_bytes=1 << 20))
    with front(upstreams[0]) as (direct, _), front(upstreams[1]) as (general, _):
        yield direct, general


@pytest.fixture(autouse=True)
def same_ids(monkeypatch, upstreams):
    monkeypatch.setattr(edge, "_COUNT", itertools.repeat(7))
    monkeypatch.setattr(request_lines, "_COUNT", itertools.repeat(7))
    for upstream in upstreams:
        upstream.answers.clear()
        upstream.asked.clear()
        upstream.streamed = 0


def exchanged(port, *pieces):
    """All that is answered, but for the time of day and the ids of defects."""
    with socket.create_connection(("127.0.0.1", port), LONGEST) as connection:
        with contextlib.suppress(ConnectionError):  # closed after what is no request
            for piece in pieces:
                connection.sendall(piece)
        return normal(rest_of(connection))


def normal(told):
    return re.sub(rb"internal error [0-9a-f]{8}", b"internal error", re.sub(rb"date: [^\r]*", b"date:", told))


def message(body, head=PLAIN, **fields):
    lines = b"".join(b"%s: %s\r\n" % (name.replace("_", "-").encode(), value) for name, value in fields.items())
    return head + lines + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def closing(said):
    """The same request, the last one of its connection."""
    return said.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)


LAST = closing(message(json.dumps(WHOLE).encode()))

BODIES = [
    WHOLE,
    {"id": "mine", **WHOLE},
    {"inputs": [TENSOR, {**TENSOR, "name": "h_0"}]},
    {"inputs": [{**TENSOR, "data": [1, 2, 3, 4]}], "parameters": {"sequence_id": 7, "sequence_start": True}},
    {"inputs": [{**TENSOR, "shape": [1, 2, 3]}]},
    {"inputs": [{**TENSOR, "data": [[[1, 2], [3]]]}]},
    {"inputs": [{**TENSOR, "datatype": "INT64", "data": [2**53 + 1, -1, 2, 3]}]},
    {"inputs": [{**TENSOR, "datatype": "FP16", "data": [1, 2, 3, 4]}]},
    {"inputs": [TENSOR], "parameters": {"binary_data_output": True}},
    {"inputs": [{**TENSOR, "shape": [1, 20, 20], "data": list(range(400))}]},
    {},
]
TEXTS = [json.dumps(body).encode() for body in BODIES] + [b"", b"{", b"[]", b"\xff", b"[" * 5000]
FIELDS = [
    {},
    {"X_Request_Id": b"abc"},
    {"Accept_Encoding": b"gzip, deflate"},
    {"Content_Encoding": b"gzip"},
    {"Origin": b"http://evil.example"},
    {"Authorization": b"Bearer t"},
    {"Authorization": b"Bearer \xe9"},
    {"Traceparent": b"00-1-2-01"},
    {"Expect": b"100-continue"},
    {"Inference_Header_Content_Length": b"99999"},
    {"X_Other": b"y"},
]
HEADS = [
    PLAIN,
    PLAIN.replace(b"/m/", b"/m/versions/3/"),
    PLAIN.replace(b"/m/", b"/a%2Fb/"),
    PLAIN.replace(b"/m/infer", b"/m/infer?a=b"),
    PLAIN.replace(b"/infer", b"/nothing"),
    PLAIN.replace(b"POST", b"PUT"),
    PLAIN.replace(b"1.1", b"1.0"),
    PLAIN.replace(b"localhost", b"evil.example"),
    PLAIN.replace(b"application/json", b"application/octet-stream"),
]


@settings(settings.get_profile("full"), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from(TEXTS), st.sampled_from(HEADS), st.sampled_from(FIELDS)), max_size=5), st.data()
)
def test_any_requests_on_one_connection_have_the_same_answers_both_ways(fronts, upstreams, requests, data):
    """Right and wrong, pipelined, and cut into pieces anywhere."""
    for upstream in upstreams:
        upstream.asked.clear()
    sent = b"".join(message(text, head, **fields) for text, head, fields in requests) + LAST
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=3)))
    pieces = [sent[a:b] for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
    direct, general = (exchanged(port, *pieces) for port in fronts)
    assert direct == general
    assert asked(upstreams[0]) == asked(upstreams[1])


def asked(upstream):
    """Requests with what goes with them, but for the port of the client."""
    return [
        (request, [pair for pair in context.metadata if pair[0] != PEER], context.has_headers, context.timeout)
        for _, request, context in upstream.asked
    ]


def turn_by_turn(port, requests):
    """Send one request after another, each once the one before is answered or the connection is closed."""
    told = b""
    with socket.create_connection(("127.0.0.1", port), LONGEST) as connection:
        try:
            for request in requests[:-1]:
                connection.sendall(request)
                connection.settimeout(LONGEST)
                told += one_answer(connection)
            connection.sendall(requests[-1])
        except ConnectionError:
            pass
        told += rest_of(connection)
    return normal(told)


def one_answer(connection):
    told = b""
    while b"\r\n\r\n" not in told:
        piece = connection.recv(1 << 16)
        if not piece:
            return told
        told += piece
    head, _, body = told.partition(b"\r\n\r\n")
    size = re.search(rb"content-length: (\d+)", head)
    while size and len(body) < int(size[1]):
        piece = connection.recv(1 << 16)
        if not piece:
            break
        body += piece
    return head + b"\r\n\r\n" + body


def test_request_as_clients_send_it_takes_the_direct_way(fronts, upstreams):
    fields = {"Authorization": b"Bearer t", "Traceparent": b"00-1-2-01", "X_Request_Id": b"mine", "User_Agent": b"u"}
    text = json.dumps({"inputs": [BINARY], "parameters": {"binary_data_output": True}}).encode()
    size = {"Inference_Header_Content_Length": str(len(text)).encode()}
    head = PLAIN.replace(b"application/json", b"application/octet-stream")
    binary = message(text + struct.pack("<4f", 1, 2, 3, 4), head, **size, **fields)
    for count, request in enumerate((message(TEXTS[0], **fields), binary), 1):
        answers = [turn_by_turn(port, [request, LAST]) for port in fronts]
        assert answers[0] == answers[1]
        assert answers[0].startswith(b"HTTP/1.1 200")
        assert upstreams[0].streamed == count
    assert asked(upstreams[0]) == asked(upstreams[1])
    assert [name for name, _ in asked(upstreams[0])[0][1]] == ["x-request-id", "authorization", "traceparent"]


def test_refusals_of_the_server_are_the_same_both_ways(fronts, upstreams):
    codes = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
    for error in [*(error_of_status(code, "told") for code in codes), RuntimeError("a defect")]:
        for upstream in upstreams:
            upstream.answers["ModelInfer"] = error
        answers = [turn_by_turn(port, [message(TEXTS[0]), LAST]) for port in fronts]
        assert answers[0] == answers[1]
    assert upstreams[0].streamed == len(codes) + 1
