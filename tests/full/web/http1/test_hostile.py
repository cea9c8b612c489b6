"""Whatever a hostile client sends has an answer in JSON or a closed connection."""

import contextlib
import json
import logging
import socket
import struct
import threading

import pytest

from kit.fronts import LONGEST, FakeUpstream, answers_in, exchange, rest_of, running_front
from kit.waiting import until
from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.http1.limits import HttpLimits

BODY = json.dumps({"inputs": [{"name": "input", "datatype": "FP32", "shape": [1], "data": [1]}]}).encode()
LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n"
LAST = LIVE + b"Connection: close\r\n\r\n"
CHUNKED = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
ONE_CHUNK = b"%x\r\n%s\r\n0\r\n" % (len(BODY), BODY)


def get(target, *fields):
    return b"\r\n".join([b"GET " + target + b" HTTP/1.1", *(fields or (b"Host: a",)), b"Connection: close", b"", b""])


def post(*fields, version=b"1.1", body=BODY):
    head = [b"POST /v2/models/m/infer HTTP/" + version, b"Host: a", b"Connection: close", *fields]
    return b"\r\n".join([*head, b"Content-Length: %d" % len(body), b"", body])


REQUESTS = [
    (get(b"HTTPS://A:443/v2/health/live"), 200),
    (get(b"http://a:8001/v2/health/live"), 400),
    (get(b"http://u:p@a/v2/health/live"), 400),
    (get(b"//a/v2/health/live"), 404),
    (get(b"/v2/health/live#x"), 400),
    (get(b"*"), 400),
    (get(b"/v2\0"), 400),
    (get(b"/v2", b"Host: a", b"X: y\rZ: 1"), 400),
    (get(b"/v2", b"Host: a", b"X: y\r\n\tz"), 400),
    (get(b"/v2", b"Host: a", b"nothing"), 400),
    (get(b"/v2/health/live", b"Host: a", b"X: \xe9\xff"), 200),
    (get(b"/v2/health/live", b"Host: a/../b"), 400),
    (get(b"/v2/health/live", b"Host: a", b"Host: a"), 400),
    (b"A" * 20_000 + b" / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"PROPFIND /v2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 405),
    (b"GET /v2\r\n\r\n", 505),
    (CHUNKED + b"10000000000000000\r\n", 400),
    (CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n", 400),
    (CHUNKED + b"3\nabc\n0\n\n", 400),
    (CHUNKED + ONE_CHUNK + b"Host: b\r\nAuthorization: x\r\n\r\n", 200),
    (CHUNKED + ONE_CHUNK + b"Content-Length: 5\r\n\r\n", 400),
    (CHUNKED + ONE_CHUNK + b"A: b\r\n" * 200 + b"\r\n", 431),
    (CHUNKED.replace(b"chunked", b"identity") + b"0\r\n\r\n", 501),
    (CHUNKED.replace(b"chunked", b"chunked, gzip") + b"0\r\n\r\n", 400),
    (get(b"/v2", b"Host: a", b"Content-Length: 3, 3"), 400),
    (post(b"Content-Length: 18446744073709551616", body=b""), 400),
    (post(b"Expect: 100-continue, x"), 417),
    (post(b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings"), 200),
    (LIVE + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n", 200),
    (post(b"Origin: http://["), 403),
    (post(b"Authorization: Bearer a", b"Authorization: Bearer b"), 400),
    (post(b"Content-Type: a/b", b"Content-Type: application/octet-stream"), 400),
    (get(b"/v2/models/%ff"), 400),
    (get(b"/v2/models/%0d%0aX:%20y"), 400),
    (LAST + LAST, 200),
]


@pytest.fixture(scope="module")
def front():
    with running_front(FakeUpstream()) as (port, _):
        yield port


def test_hostile_request_has_one_answer_and_no_traceback_in_the_log(front, caplog):
    for sent, status in REQUESTS:
        assert [got for got, _ in answers_in(exchange(front, sent))] == [status], sent[:200]
        assert [got for got, _ in answers_in(exchange(front, LAST))] == [200]
    assert {record.name for record in caplog.records if record.levelno >= logging.WARNING} == {"rnnserve.requests"}


def test_endless_head_or_chunk_is_refused_as_it_arrives(front):
    for endless in (CHUNKED + ONE_CHUNK + b"A: ", CHUNKED + b"1;", LIVE + b"A: ", b"GET /"):
        with (
            socket.create_connection(("127.0.0.1", front), LONGEST) as connection,
            contextlib.suppress(ConnectionError),
        ):
            connection.sendall(endless)
            for _ in range(4000):
                connection.sendall(b"b" * (1 << 14))
            pytest.fail("64 MB were taken")


def test_client_that_closes_its_half_gets_answers_of_whole_requests(front):
    whole = [(LIVE + b"\r\n", 1), ((LIVE + b"\r\n") * 1000, 1000), (LIVE + b"\r\nGET /", 1)]
    for sent, answers in [*whole, (b"", 0), (b"GET /v2", 0), (CHUNKED + b"1\r\n{\r\n", 0)]:
        with socket.create_connection(("127.0.0.1", front), LONGEST) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            assert rest_of(connection).count(b"HTTP/1.1 200 OK") == answers


@pytest.mark.parametrize(
    "piece",
    [b"GET /v2 HTTP/1.1\r\nHost: a\r\n" + b"A: %s\r\n" % (b"a" * 200) * 40, (LIVE + b"\r\n") * 600],
    ids=["heads that are not whole", "requests that wait"],
)
def test_bytes_held_for_all_connections_are_bounded(piece):
    """Those that hold something for longest give way, and who asks for one thing is answered."""
    most = 1 << 20
    with running_front(FakeUpstream(), HttpLimits(max_held_bytes=most, write_seconds=60)) as (port, table):
        crowd = []
        for _ in range(120):
            connection = socket.create_connection(("127.0.0.1", port), LONGEST)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            crowd.append(connection)
            with contextlib.suppress(ConnectionError):
                connection.sendall(piece)
            assert table.held <= most
        assert [status for status, _ in answers_in(exchange(port, LAST))] == [200]
        for connection in crowd:
            connection.close()
        until(lambda: len(table) == 0)
        assert table.held == 0


def test_client_that_goes_leaves_no_call_and_no_connection():
    """Whether it leaves before the answer, of a large body too, or resets in the middle of one."""
    large = pb.ModelInferResponse(model_name="m")
    large.outputs.add(name="y", datatype="FP32", shape=[4 << 20])
    large.raw_output_contents.append(bytes(16 << 20))
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 60_000], "data": [0.5] * 60_000}
    upstream = FakeUpstream()
    with running_front(upstream) as (port, table):
        upstream.service.blocked = threading.Event()

        def leave_after(count, body):
            with socket.create_connection(("127.0.0.1", port), LONGEST) as connection:
                connection.sendall(post(body=body).replace(b"Connection: close\r\n", b""))  # for the direct way, too
                until(lambda: len(upstream.asked) == count)
            until(lambda: upstream.cancelled == count)

        leave_after(1, BODY)
        leave_after(2, json.dumps({"inputs": [tensor]}).encode())
        upstream.service.blocked.set()
        upstream.answers["ModelInfer"] = large
        with socket.create_connection(("127.0.0.1", port), LONGEST) as connection:
            connection.sendall(post(body=BODY))
            assert connection.recv(100)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        until(lambda: len(table) == 0)
