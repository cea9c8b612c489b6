"""The direct way and the general way: whatever comes, both answer it with the same bytes."""

import contextlib
import functools
import itertools
import json
import random
import re
import socket
import struct

import grpc
import pytest

from kit.fronts import LONGEST, FakeUpstream, exchange, rest_of, running_front
from kit.waiting import until
from rnnserve.common import request_lines
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos.protocol_words import PEER
from rnnserve.web.app import edge
from rnnserve.web.app.application import FrontLimits
from rnnserve.web.http1.limits import HttpLimits
from rnnserve.web.upstream.exchange_stream import NotTaken
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
        upstream.on_infer = None
        upstream.asked.clear()
        upstream.streamed = 0


def said(port, *pieces):
    """All that is answered, but for the time of day and the ids of defects."""
    with socket.create_connection(("127.0.0.1", port), LONGEST) as connection:
        with contextlib.suppress(ConnectionError):  # closed after what is no request
            for piece in pieces:
                connection.sendall(piece)
        return normal(rest_of(connection))


def normal(told):
    return re.sub(rb"internal error [0-9a-f]{8}", b"internal error", re.sub(rb"date: [^\r]*", b"date:", told))


def both(fronts, *pieces):
    """What both answer, which is the same."""
    direct, general = (said(port, *pieces) for port in fronts)
    assert direct == general
    return direct


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
    {"inputs": [{**TENSOR, "data": [True, 1, 2, 3]}]},
    {"inputs": [{**TENSOR, "data": [1e39, 1, 2, 3]}]},
    {"inputs": [{**TENSOR, "datatype": "INT64", "data": [2**63, 1, 2, 3]}]},
    {"inputs": [{**TENSOR, "datatype": "INT64", "data": [2**53 + 1, -1, 2, 3]}]},
    {"inputs": [{**TENSOR, "datatype": "BYTES", "shape": [2], "data": ["a", "é"]}]},
    {"inputs": [{**TENSOR, "datatype": "FP16", "data": [1, 2, 3, 4]}]},
    {"inputs": [{**TENSOR, "datatype": "FP99"}]},
    {"inputs": [{**TENSOR, "parameters": {"shared_memory_region": "r"}}]},
    {"inputs": "x"},
    {"inputs": [TENSOR], "outputs": [{"name": "y", "parameters": {"binary_data": True}}]},
    {"inputs": [TENSOR], "parameters": {"binary_data_output": True}},
    {"inputs": [TENSOR], "parameters": {"binary_data_output": 1}},
    {"inputs": [{**TENSOR, "shape": [1, 20, 20], "data": list(range(400))}]},
    {},
]
TEXTS = [json.dumps(body).encode() for body in BODIES] + [
    b"", b"{", b"[]", b"\xff", b'{"inputs": [], "inputs": []}', b"[" * 5000, b'{"id": "\\ud800", "inputs": []}',
    json.dumps({"inputs": [{**TENSOR, "data": [float("nan"), float("inf"), 1, 2]}]}).encode(),
    b'{"inputs": [{"name": "a", "datatype": "FP32", "shape": [1], "data": [1], "data": [2]}]}',
]  # fmt: skip
FIELDS = [
    {},
    {"X_Request_Id": b"abc"},
    {"X_Request_Id": b"with space"},
    {"Accept_Encoding": b"gzip, deflate"},
    {"Accept_Encoding": b"br"},
    {"User_Agent": b"x/1", "Accept": b"*/*"},
    {"Content_Encoding": b"gzip"},
    {"Content_Encoding": b"br"},
    {"Origin": b"http://evil.example"},
    {"Authorization": b"Bearer t"},
    {"Traceparent": b"00-1-2-01"},
    {"Authorization": b"Bearer \xe9"},
    {"Connection": b"keep-alive"},
    {"Expect": b"100-continue"},
    {"Inference_Header_Content_Length": b"0"},
    {"Inference_Header_Content_Length": b"99999"},
    {"Inference_Header_Content_Length": b"+1"},
    {"X_Other": b"y"},
]
REFUSED_FIELDS = [{"Transfer_Encoding": b"chunked"}, {"Expect": b"something"}]
HEADS = [
    PLAIN,
    PLAIN.replace(b"/m/", b"/m/versions/3/"),
    PLAIN.replace(b"/m/", b"/a%20b/"),
    PLAIN.replace(b"/m/", b"/a%2Fb/"),
    PLAIN.replace(b"/m/", b"/../"),
    PLAIN.replace(b"/m/infer", b"/m/infer?a=b"),
    PLAIN.replace(b"/infer", b"/nothing"),
    PLAIN.replace(b"/infer", b"/infer/"),
    PLAIN.replace(b"POST", b"PUT"),
    PLAIN.replace(b"1.1", b"1.0"),
    PLAIN.replace(b"localhost", b"evil.example"),
    PLAIN.replace(b"application/json", b"application/octet-stream"),
]
REFUSED_HEADS = [
    PLAIN.replace(b"Content-Type: application/json", b"Host: localhost"),
    PLAIN.replace(b"Host", b"Host "),
]
"""By the protocol itself: what becomes of requests before them depends on whether these have been answered by then."""


@pytest.mark.parametrize("seed", range(4))
def test_any_mixture_on_one_connection(fronts, upstreams, seed):
    """Heads, fields and bodies, right and wrong, pipelined and cut into pieces at random places."""
    draw = random.Random(seed)
    answers = 0
    for _ in range(100):
        sent = b""
        for _ in range(draw.choice([1, 1, 2, 5])):
            head = PLAIN if draw.random() < 0.7 else draw.choice(HEADS)
            fields = {} if draw.random() < 0.5 else draw.choice(FIELDS)
            sent += message(draw.choice(TEXTS), head, **fields)
        sent += LAST
        cuts = sorted(draw.sample(range(len(sent)), draw.choice([0, 0, 1, 3])))
        pieces = [sent[a:b] for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True)]
        answers += both(fronts, *pieces).count(b"HTTP/1.1 ")
    assert answers > 200
    assert asked(upstreams[0]) == asked(upstreams[1])


def asked(upstream):
    """Requests with what goes with them, but for the port of the client."""
    return [
        (request, [pair for pair in context.metadata if pair[0] != PEER], context.has_headers, context.timeout)
        for _, request, context in upstream.asked
    ]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:40].decode("latin-1"))
def test_a_body(fronts, upstreams, text):
    """One request a connection that stays, so that the direct way may take it, then the last one."""
    answers = [turn_by_turn(port, [message(text), LAST]) for port in fronts]
    assert answers[0] == answers[1]


def test_headers_that_the_server_sees_take_the_direct_way(fronts, upstreams):
    fields = {"Authorization": b"Bearer t", "Traceparent": b"00-1-2-01", "X_Request_Id": b"mine"}
    answers = [turn_by_turn(port, [message(TEXTS[0], **fields), LAST]) for port in fronts]
    assert answers[0] == answers[1]
    assert upstreams[0].streamed == 1
    assert asked(upstreams[0]) == asked(upstreams[1])
    assert [name for name, _ in asked(upstreams[0])[0][1]] == ["x-request-id", "authorization", "traceparent"]


@pytest.mark.parametrize("fields", FIELDS + REFUSED_FIELDS, ids=str)
@pytest.mark.parametrize("head", HEADS + REFUSED_HEADS, ids=lambda head: head[:40].decode("latin-1"))
def test_a_head(fronts, head, fields):
    body = json.dumps({"inputs": [{**TENSOR, "shape": [1, 20, 20], "data": list(range(400))}]}).encode()
    answers = [turn_by_turn(port, [message(body, head, **fields), LAST]) for port in fronts]
    assert answers[0] == answers[1]


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


@pytest.mark.parametrize("fields", [{}, {"Accept_Encoding": b"gzip"}, {"X_Request_Id": b"r"}])
def test_binary_data(fronts, upstreams, fields):
    text = json.dumps({"inputs": [BINARY], "parameters": {"binary_data_output": True}}).encode()
    size = {"Inference_Header_Content_Length": str(len(text)).encode()}
    head = PLAIN.replace(b"application/json", b"application/octet-stream")
    request = message(text + struct.pack("<4f", 1, 2, 3, 4), head, **size, **fields)
    direct, general = (turn_by_turn(port, [request, LAST]) for port in fronts)
    assert direct == general
    assert upstreams[0].streamed == 1
    assert b"inference-header-content-length" in direct


@pytest.mark.parametrize(
    "error",
    [error_of_status(code, "told") for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
    + [RuntimeError("a defect"), NotTaken("not taken", is_unknown=False)],
    ids=str,
)
def test_what_the_server_refuses(fronts, upstreams, error):
    """What it has not taken is asked again, on the general way."""

    def refuse(request):
        if isinstance(error, NotTaken) and upstreams[0].streamed and len(upstreams[0].asked) == 1:
            raise error
        if not isinstance(error, NotTaken):
            raise error
        response = pb.ModelInferResponse(model_name=request.model_name, model_version="1")
        response.outputs.add(name="y", datatype="FP32", shape=[1])
        response.raw_output_contents.append(bytes(4))
        return response

    for upstream in upstreams:
        upstream.on_infer = refuse
    request = message(json.dumps(WHOLE).encode())
    got = [turn_by_turn(port, [request, LAST]) for port in fronts]
    assert got[0] == got[1]
    assert upstreams[0].streamed == 1


def test_answers_that_have_no_form_in_json_and_large_ones(fronts, upstreams):
    body = json.dumps(WHOLE).encode()
    for datatype, data in (("FP16", bytes(2)), ("BYTES", b"\1\0\0\0\xff"), ("FP32", b"\0\0\xc0\x7f" * (1 << 18))):
        response = pb.ModelInferResponse(model_name="m", model_version="1")
        response.outputs.add(name="y", datatype=datatype, shape=[1])
        response.raw_output_contents.append(data)
        for upstream in upstreams:
            upstream.on_infer = lambda _, response=response: response
            upstream.asked.clear()
        for fields in ({}, {"Accept_Encoding": b"gzip"}):
            answers = [turn_by_turn(port, [message(body, **fields), LAST]) for port in fronts]
            assert answers[0] == answers[1]
        assert len(upstreams[0].asked) == len(upstreams[1].asked) == 4


def test_a_request_as_clients_send_it_takes_the_direct_way(fronts, upstreams):
    """At once, or its head first; again and again on one connection; and what follows too early waits."""
    port, request = fronts[0], message(json.dumps(WHOLE).encode(), User_Agent=b"u")
    at = request.index(b"\r\n\r\n") + 4
    with socket.create_connection(("127.0.0.1", port), LONGEST) as connection:
        for _ in range(3):
            connection.sendall(request)
            assert one_answer(connection).startswith(b"HTTP/1.1 200")
        assert upstreams[0].streamed == 3
        for cut in (at, at + 10, 20):
            connection.sendall(request[:cut])
            connection.sendall(request[cut:])
            assert one_answer(connection).startswith(b"HTTP/1.1 200")


def test_a_head_whose_body_never_comes_is_left():
    """By the general way's bounds, which it goes to after a moment."""
    limits = HttpLimits(body_seconds=0.1, body_rate=1e9)
    with running_front(FakeUpstream(), limits) as (port, table):
        request = message(json.dumps(WHOLE).encode())
        told = exchange(port, request[: request.index(b"\r\n\r\n") + 4])
        assert told.startswith(b"HTTP/1.1 408")
        until(lambda: len(table) == 0)
