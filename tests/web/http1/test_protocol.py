"""HTTP/1.1 over sockets: what is a request and what isn't, order, chunks, and early refusals."""

import json
import socket

import pytest

from kit.fronts import LONGEST, FakeUpstream, answers_in, exchange, rest_of, running_front
from rnnserve.web.app.application import FrontLimits

TENSOR = {"name": "input", "datatype": "FP32", "shape": [1], "data": [1]}
BODY = json.dumps({"inputs": [TENSOR]}).encode()
LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n"
INFER = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: a\r\n"
WHOLE = INFER + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
CLOSING = INFER + b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


@pytest.fixture(scope="module")
def front():
    with running_front(FakeUpstream(), limits=FrontLimits(max_body_bytes=1 << 20)) as (port, _):
        yield port


def statuses(said):
    return [status for status, _ in answers_in(said)]


def test_what_is_no_request_has_one_answer_and_closes(front):
    for sent, status in (
        (b"no request at all\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (LIVE.replace(b"1.1", b"2.0") + b"\r\n", 505),
        (b"GET /v2/health/live HTTP/1.1\r\n\r\n", 400),
        (LIVE + b"Host: b\r\n\r\n", 400),
        (LIVE + b"A: b\r\n c\r\n\r\n", 400),
        (b"GET /v2/health/live HTTP/1.1\nHost: a\n\n", 400),
        (INFER + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
        (INFER + b"Content-Length: -3\r\n\r\nabc", 400),
        (INFER + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (INFER + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (INFER + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (INFER + b"Expect: something\r\nContent-Length: 3\r\n\r\nabc", 417),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /" + b"a" * (9 << 10) + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (LIVE + b"A: b\r\n" * 120 + b"\r\n", 431),
        (LIVE + b"A: " + b"b" * (40 << 10) + b"\r\n\r\n", 431),
    ):
        assert statuses(exchange(front, sent)) == [status], sent[:100]
    assert statuses(exchange(front, CLOSING)) == [200]


def test_requests_are_answered_in_any_form_and_any_pieces(front):
    close = b"Connection: close\r\n\r\n"
    for sent in (
        LIVE + close,
        LIVE.replace(b"/v2", b"http://a:80/v2") + close,
        b"\r\n\r\n" + LIVE + close,
        b"GET /v2/health/live?a=b HTTP/1.0\r\n\r\n",
        LIVE + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + WHOLE,  # after which nothing is read
    ):
        assert answers_in(exchange(front, sent)) == [(200, {"live": True})]
    chunked = INFER + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunked += b"".join(b"1;x=y\r\n%c\r\n" % byte for byte in BODY) + b"0\r\nTrailer: t\r\n\r\n"
    assert statuses(exchange(front, *(chunked[at : at + 1] for at in range(len(chunked))))) == [200]


def test_pipelined_requests_are_answered_in_order(front):
    """What follows them and is none costs none of them its answer."""
    bodies = [json.dumps({"id": f"r{index}", "inputs": [TENSOR]}).encode() for index in range(50)]
    whole = b"".join(INFER + b"Content-Length: %d\r\n\r\n%s" % (len(body), body) for body in bodies)
    for end, more in ((CLOSING, 1), (b"nonsense\r\n\r\n", 0), (INFER + b"Content-Length: -1\r\n\r\n", 0)):
        answers = answers_in(exchange(front, whole + end))
        assert [body["id"] for _, body in answers[:50]] == [f"r{index}" for index in range(50)]
        assert len(answers) == 50 + more


def test_refusal_by_the_head_does_not_wait_for_the_body(front):
    """Without 100 Continue. The answer is read, whatever is still sent, and what follows is never a request."""
    head = INFER + b"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n"
    assert statuses(exchange(front, head)) == [413]
    with socket.create_connection(("127.0.0.1", front), LONGEST) as connection:
        connection.sendall(INFER + b"Content-Length: 3000000\r\n\r\n" + bytes(2_000_000))
        assert statuses(rest_of(connection)) == [413]
    for path, status in ((b"/nowhere", 404), (b"/v2/health/live", 405)):
        smuggled = b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (path, len(WHOLE), WHOLE)
        assert statuses(exchange(front, smuggled)) == [status]


def test_connection_is_kept_and_continues_with_100_where_a_body_is_wanted(front):
    with socket.create_connection(("127.0.0.1", front), LONGEST) as connection:
        for start in (b"HEAD /v2/health/live", b"OPTIONS /v2/health/live"):  # the head comes at once, without a body
            connection.sendall(start + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            assert connection.recv(1 << 16).endswith(b"\r\n\r\n")
        connection.sendall(WHOLE)
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
        fields = b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY)
        connection.sendall(INFER + fields)
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert statuses(rest_of(connection)) == [200]
