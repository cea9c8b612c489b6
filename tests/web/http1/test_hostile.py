"""What a hostile client may send: it has an answer in JSON, or a closed connection, and leaves nothing in the log."""

import asyncio
import contextlib
import json
import select
import socket
import struct
import time

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


@pytest.fixture(scope="module")
def front():
    upstream = FakeUpstream()
    upstream.answers |= {"ServerLive": pb.ServerLiveResponse(live=True)}
    with running_front(upstream) as (port, _):
        yield port


@pytest.fixture(autouse=True)
def _silence(caplog):
    yield
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR", "CRITICAL")]


def get(target, *fields):
    return b"\r\n".join([b"GET " + target + b" HTTP/1.1", *(fields or (b"Host: a",)), b"Connection: close", b"", b""])


def post(*fields, version=b"1.1", body=BODY):
    head = [b"POST /v2/models/m/infer HTTP/" + version, b"Host: a", b"Connection: close", *fields]
    return b"\r\n".join([*head, b"Content-Length: %d" % len(body), b"", body])


REQUESTS = {
    "absolute form": (get(b"http://a/v2/health/live"), [200]),
    "absolute form, port of the scheme": (get(b"HTTPS://A:443/v2/health/live"), [200]),
    "absolute form without a path": (get(b"http://a"), [200]),
    "absolute form, a query for a path": (get(b"http://a?x=1"), [200]),
    "absolute form, another host": (get(b"http://b/v2/health/live"), [400]),
    "absolute form, another port": (get(b"http://a:8001/v2/health/live"), [400]),
    "absolute form, a user": (get(b"http://u:p@a/v2/health/live"), [400]),
    "absolute form, another scheme": (get(b"ftp://a/v2/health/live"), [400]),
    "a target without a scheme": (get(b"//a/v2/health/live"), [404]),
    "a fragment": (get(b"/v2/health/live#x"), [400]),
    "no slash": (get(b"v2/health/live"), [400]),
    "no target": (get(b""), [400]),
    "a star": (get(b"*"), [400]),
    "a query": (get(b"?x"), [400]),
    "a tab in the target": (get(b"/v2\tx"), [400]),
    "a NUL in the target": (get(b"/v2\0"), [400]),
    "a NUL in a name": (get(b"/v2", b"Host: a", b"X\0: y"), [400]),
    "a NUL in a value": (get(b"/v2", b"Host: a", b"X: \0y"), [400]),
    "a bare CR": (get(b"/v2", b"Host: a", b"X: y\rZ: 1"), [400]),
    "a bare LF": (get(b"/v2", b"Host: a", b"X: y\nZ: 1"), [400]),
    "a folded field": (get(b"/v2", b"Host: a", b"X: y\r\n\tz"), [400]),
    "a folded first field": (get(b"/v2", b" X: y", b"Host: a"), [400]),
    "a field without a colon": (get(b"/v2", b"Host: a", b"nothing"), [400]),
    "a field without a name": (get(b"/v2", b"Host: a", b": y"), [400]),
    "obs-text": (get(b"/v2/health/live", b"Host: a", b"X: \xe9\xff"), [200]),
    "a Host with a path": (get(b"/v2/health/live", b"Host: a/../b"), [400]),
    "a Host in brackets without an end": (get(b"/v2/health/live", b"Host: [::1"), [400]),
    "a Host with a user": (get(b"/v2/health/live", b"Host: a@b.example"), [400]),
    "a Host in obs-text": (get(b"/v2/health/live", b"Host: \xe9"), [400]),
    "two Hosts that agree": (get(b"/v2/health/live", b"Host: a", b"Host: a"), [400]),
    "a method of 20 kB": (b"A" * 20_000 + b" / HTTP/1.1\r\nHost: a\r\n\r\n", [400]),
    "an unknown method": (b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n", [400]),
    "a method of WebDAV": (b"PROPFIND /v2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", [405]),
    "TRACE": (b"TRACE /v2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", [405]),
    "CONNECT to a path": (b"CONNECT /v2 HTTP/1.1\r\nHost: a\r\n\r\n", [400]),
    "RTSP": (b"DESCRIBE rtsp://a/v2 RTSP/1.0\r\nHost: a\r\n\r\n", [400]),
    "HTTP/1.2": (b"GET /v2 HTTP/1.2\r\nHost: a\r\n\r\n", [400]),
    "HTTP/0.9": (b"GET /v2\r\n\r\n", [505]),
    "a chunk of more than 64 bits": (CHUNKED + b"10000000000000000\r\n", [400]),
    "a chunk of less than nothing": (CHUNKED + b"-1\r\n", [400]),
    "a chunk in another notation": (CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n", [400]),
    "a chunk's size with a space": (CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n", [400]),
    "a chunk that is longer than it says": (CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n", [400]),
    "chunks with bare LFs": (CHUNKED + b"3\nabc\n0\n\n", [400]),
    "fields after the body": (CHUNKED + ONE_CHUNK + b"Host: b\r\nAuthorization: x\r\n\r\n", [200]),
    "a size after the body": (CHUNKED + ONE_CHUNK + b"Content-Length: 5\r\n\r\n", [400]),
    "200 fields after the body": (CHUNKED + ONE_CHUNK + b"A: b\r\n" * 200 + b"\r\n", [431]),
    "Transfer-Encoding: identity": (CHUNKED.replace(b"chunked", b"identity") + b"0\r\n\r\n", [501]),
    "Transfer-Encoding: xchunked": (CHUNKED.replace(b"chunked", b"xchunked") + b"0\r\n\r\n", [501]),
    "Transfer-Encoding: chunked, gzip": (CHUNKED.replace(b"chunked", b"chunked, gzip") + b"0\r\n\r\n", [400]),
    "Transfer-Encoding after a vertical tab": (CHUNKED.replace(b" chunked", b" \x0bchunked") + b"0\r\n\r\n", [400]),
    "a list of sizes": (get(b"/v2", b"Host: a", b"Content-Length: 3, 3"), [400]),
    "a size in another notation": (get(b"/v2", b"Host: a", b"Content-Length: 0x3"), [400]),
    "a size of nothing": (get(b"/v2", b"Host: a", b"Content-Length: "), [400]),
    "a size of more than 64 bits": (post(b"Content-Length: 18446744073709551616", body=b""), [400]),
    "Expect twice": (post(b"Expect: 100-continue", b"Expect: 100-continue"), [400]),
    "Expect of several things": (post(b"Expect: 100-continue, x"), [417]),
    "Expect without a body": (get(b"/v2/health/live", b"Host: a", b"Expect: 100-continue"), [200]),
    "Expect of HTTP/1.0": (post(b"Expect: 100-continue", version=b"1.0"), [200]),
    "h2c with a body": (post(b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings"), [200]),
    "a WebSocket": (LIVE + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n", [200]),
    "Origin that is none": (post(b"Origin: http://["), [403]),
    "Origin in obs-text": (post(b"Origin: http://\xe9"), [403]),
    "Authorization twice": (post(b"Authorization: Bearer a", b"Authorization: Bearer b"), [400]),
    "Content-Type twice": (post(b"Content-Type: a/b", b"Content-Type: application/octet-stream"), [400]),
    "Content-Encoding twice": (post(b"Content-Encoding: gzip", b"Content-Encoding: identity"), [400]),
    "an encoding that is none": (get(b"/v2/models/%zz"), [400]),
    "an encoding without an end": (get(b"/v2/models/%"), [400]),
    "an encoding that is not UTF-8": (get(b"/v2/models/%ff"), [400]),
    "half of a surrogate pair": (get(b"/v2/models/%ed%a0%80"), [400]),
    "encoded line ends": (get(b"/v2/models/%0d%0aX:%20y"), [400]),
    "a request after the last": (LAST + LAST, [200]),
    "a body of GET": (get(b"/v2/health/live", b"Host: a", b"Content-Length: 3") + b"abc", [200]),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_one_answer_and_no_more(front, name):
    sent, statuses = REQUESTS[name]
    assert [status for status, _ in answers_in(exchange(front, sent))] == statuses
    assert [status for status, _ in answers_in(exchange(front, LAST))] == [200]


@pytest.mark.parametrize(
    "endless",
    [CHUNKED + ONE_CHUNK + b"A: ", CHUNKED + b"1;", CHUNKED + b"1\r\n{\r\n1;x=", LIVE + b"A: ", b"GET /"],
    ids=["a field after the body", "a chunk's extension", "the second's", "a field", "a target"],
)
def test_what_has_no_end_is_refused_as_it_arrives(front, endless):
    """Whatever it is: the parser keeps a field until its end."""
    said = b""
    with socket.create_connection(("127.0.0.1", front), LONGEST) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(endless)
        for _ in range(4000):
            connection.sendall(b"b" * (1 << 14))
        pytest.fail("64 MB were taken")
    assert [status for status, _ in answers_in(said)] in ([], [414], [431])


def test_ten_thousand_requests_at_once(front):
    """Each is answered, in order; few of them are parsed before the ones before them have been answered."""
    count = 10_000
    with socket.create_connection(("127.0.0.1", front), LONGEST) as connection:
        connection.setblocking(False)
        sent, said = memoryview((LIVE + b"\r\n") * count + LAST), b""
        until_ = time.monotonic() + LONGEST
        while time.monotonic() < until_:
            select.select([connection], [connection] if sent else [], [], LONGEST)
            with contextlib.suppress(BlockingIOError):
                sent = sent[connection.send(sent) :]
            with contextlib.suppress(BlockingIOError):
                piece = connection.recv(1 << 20)
                if not piece:
                    break
                said += piece
    assert said.count(b"HTTP/1.1 200 OK") == count + 1


@pytest.mark.parametrize("sent", [LIVE + b"\r\n", (LIVE + b"\r\n") * 1000, LAST])
def test_a_client_that_only_closes_its_half_is_answered(front, sent):
    with socket.create_connection(("127.0.0.1", front), LONGEST) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        assert rest_of(connection).count(b"HTTP/1.1 200 OK") == sent.count(b"GET")


@pytest.mark.parametrize("sent", [b"", b"GET /v2", CHUNKED + b"1\r\n{\r\n", LIVE + b"\r\nGET /"])
def test_half_a_request_and_no_more_closes(front, sent):
    with socket.create_connection(("127.0.0.1", front), LONGEST) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        assert rest_of(connection).count(b"HTTP/1.1") == (1 if sent.startswith(LIVE) else 0)


def test_a_connection_that_is_reset_in_the_middle_of_an_answer():
    upstream = FakeUpstream()
    large = pb.ModelInferResponse(model_name="m")
    large.outputs.add(name="y", datatype="FP32", shape=[4 << 20])
    large.raw_output_contents.append(bytes(16 << 20))
    upstream.on_infer = lambda _: large
    with running_front(upstream) as (port, table):
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", port), LONGEST) as connection:
                connection.sendall(post(body=BODY))
                assert connection.recv(100)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        until(lambda: len(table) == 0)


@pytest.mark.parametrize(
    "piece",
    [b"GET /v2 HTTP/1.1\r\nHost: a\r\n" + b"A: %s\r\n" % (b"a" * 200) * 40, (LIVE + b"\r\n") * 600],
    ids=["heads that are not whole", "requests that wait"],
)
def test_what_all_connections_hold_together_is_bounded(piece):
    """Those that hold something for longest give way, and who asks for one thing is answered."""
    upstream = FakeUpstream()
    upstream.answers |= {"ServerLive": pb.ServerLiveResponse(live=True)}
    most = 1 << 20
    with running_front(upstream, HttpLimits(max_held_bytes=most, write_seconds=60)) as (port, table):
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


@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
@pytest.mark.parametrize("coding", ["of a size", "in chunks"])
def test_a_request_that_offers_another_protocol_has_a_body(front, coding, size):
    """Java's HttpClient offers HTTP/2 with each; what follows such a request is not read."""
    data = [1.5] * 20_000
    body = json.dumps({"inputs": [{"name": "input", "datatype": "FP32", "shape": [20_000], "data": data}]}).encode()
    head = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    if coding == "of a size":
        sent = head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    else:
        sent = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    pieces = [sent[at : at + size] for at in range(0, 300 * size if size < 9 else len(sent), size)]
    rest = sent[sum(map(len, pieces)) :]
    ((status, said),) = answers_in(exchange(front, *pieces, rest, LIVE + b"\r\n"))
    assert (status, said["outputs"][0]["data"]) == (200, data)


def test_a_client_that_goes_cancels_its_call_whatever_the_size_of_its_body():
    """Reading had been paused while a large body came, and no one noticed that the client went."""

    async def for_ever(_):
        await asyncio.sleep(3600)

    upstream = FakeUpstream()
    upstream.on_infer = for_ever
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 60_000], "data": [0.5] * 60_000}
    body = json.dumps({"inputs": [tensor]}).encode()
    with running_front(upstream) as (port, table):
        with socket.create_connection(("127.0.0.1", port), LONGEST) as connection:
            connection.sendall(post(body=body))
            until(lambda: len(upstream.asked) == 1)
        until(lambda: upstream.cancelled == 1)
        assert len(table) == 0
