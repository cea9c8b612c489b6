"""Sockets: what is no request, what takes too long, and what is left of a request that was refused."""

import asyncio
import json
import socket
import ssl  # noqa: F401 - so that its import takes none of a test's time
import threading

import pytest

from kit.fronts import LONGEST, FakeUpstream, exchange, rest_of, running_front
from kit.waiting import until
from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.app.application import FrontLimits
from rnnserve.web.http1.limits import HttpLimits

TENSOR = {"name": "input", "datatype": "FP32", "shape": [1], "data": [1]}
BODY = json.dumps({"inputs": [TENSOR]}).encode()
INFER = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: a\r\n"
WHOLE = INFER + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
CLOSING = INFER + b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
# One of them is short: the others are those of users, so that on a busy machine none of them ends what a test begins.
SHORT_HEAD = HttpLimits(header_seconds=0.7)
SHORT_BODY = HttpLimits(body_seconds=0.3, body_rate=1e9)
SHORT_PAUSE = HttpLimits(keep_alive_seconds=0.3)


@pytest.fixture(scope="module")
def front():
    upstream = FakeUpstream()
    upstream.answers |= {"ServerLive": pb.ServerLiveResponse(live=True)}
    with running_front(upstream, limits=FrontLimits(max_body_bytes=1 << 20)) as (port, _):
        yield port


def parsed(said):
    """The answers in what came: (status, JSON or None)."""
    answers = []
    while said:
        head, _, said = said.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        fields = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])
        }
        size = int(fields.get(b"content-length", b"0"))
        body, said = said[:size], said[size:]
        status = int(lines[0].split()[1])
        if body and status != 100:
            assert fields[b"content-type"] == b"application/json"
        answers.append((status, json.loads(body) if body else None))
    return answers


def is_alive(port):
    assert [status for status, _ in parsed(exchange(port, CLOSING))] == [200]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"no request at all\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET /v2/health/live HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET /v2/health/live HTTP/0.9\r\nHost: a\r\n\r\n", 505),
        (b"GET /v2/health/live HTTP/1.1\r\n\r\n", 400),
        (b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /v2/health/live HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        (b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n", 400),
        (b"GET /v2/health/live HTTP/1.1\nHost: a\n\n", 400),
        (b"GET /v2/health/l\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (INFER + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
        (INFER + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
        (INFER + b"Content-Length: +3\r\n\r\nabc", 400),
        (INFER + b"Content-Length: -3\r\n\r\nabc", 400),
        (INFER + b"Content-Length: 99999999999999999999999\r\n\r\nabc", 400),
        (INFER + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (INFER + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (INFER + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST /v2/models/m/infer HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
        (INFER + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (INFER + b"Expect: something\r\nContent-Length: 3\r\n\r\nabc", 417),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /" + b"a" * (9 << 10) + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /v2 HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * 120 + b"\r\n", 431),
        (b"GET /v2 HTTP/1.1\r\nHost: a\r\nA: " + b"b" * (40 << 10) + b"\r\n\r\n", 431),
    ],
)
def test_what_is_no_request(front, head, status):
    """One answer in JSON, and the connection is closed."""
    ((got, body),) = parsed(exchange(front, head))
    assert (got, list(body)) == (status, ["error", "id"])
    is_alive(front)


def test_a_head_without_end_is_refused(front):
    """As it arrives: nothing keeps it until its end."""
    with socket.create_connection(("127.0.0.1", front), LONGEST) as connection:
        connection.sendall(b"GET /v2 HTTP/1.1\r\nHost: a\r\nA: ")
        try:
            for _ in range(4000):
                connection.sendall(b"b" * (1 << 14))
        except ConnectionError:
            pass
        else:
            pytest.fail("64 MB of a head were taken")


@pytest.mark.parametrize(
    "request_line",
    [b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
     b"GET http://a:80/v2/health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
     b"\r\n\r\nGET /v2/health/live HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
     b"GET /v2/health/live?a=b HTTP/1.0\r\n\r\n"],
)  # fmt: skip
def test_what_is_a_request(front, request_line):
    assert parsed(exchange(front, request_line)) == [(200, {"live": True})]


def test_other_protocols_are_not_spoken(front):
    """The request is answered as it stands, and the connection closed, after which nothing is read any more."""
    upgrade = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" + WHOLE
    assert parsed(exchange(front, upgrade)) == [(200, {"live": True})]


def test_a_body_in_chunks_and_byte_by_byte(front):
    chunked = INFER + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunked += b"".join(b"1;x=y\r\n%c\r\n" % byte for byte in BODY) + b"0\r\nTrailer: t\r\n\r\n"
    ((status, _),) = parsed(exchange(front, *(chunked[at : at + 1] for at in range(len(chunked)))))
    assert status == 200


@pytest.mark.parametrize(
    ("end", "more"),
    [
        (CLOSING, 1),
        (b"nonsense\r\n\r\n", 0),
        (INFER + b"Content-Length: -1\r\n\r\n", 0),
        (INFER + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 0),
    ],
)
def test_pipelined_requests_are_answered_in_order(front, end, more):
    """What follows them and is none costs none of them its answer."""
    bodies = [json.dumps({"id": f"r{index}", "inputs": [TENSOR]}).encode() for index in range(50)]
    whole = b"".join(INFER + b"Content-Length: %d\r\n\r\n%s" % (len(body), body) for body in bodies)
    answers = parsed(exchange(front, whole + end))
    assert [body["id"] for _, body in answers[:50]] == [f"r{index}" for index in range(50)]
    assert len(answers) == 50 + more


def test_what_a_header_tells_is_refused_before_the_body(front):
    """Without 100 Continue, and without waiting for a byte of it; the answer is read, whatever is still sent."""
    head = INFER + b"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n"
    assert [status for status, _ in parsed(exchange(front, head))] == [413]
    with socket.create_connection(("127.0.0.1", front), LONGEST) as connection:
        connection.sendall(INFER + b"Content-Length: 3000000\r\n\r\n" + bytes(2_000_000))
        assert [status for status, _ in parsed(rest_of(connection))] == [413]


def test_100_continue_is_said_where_the_body_is_wanted(front):
    with socket.create_connection(("127.0.0.1", front), LONGEST) as connection:
        connection.sendall(
            INFER + b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY)
        )
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert [status for status, _ in parsed(rest_of(connection))] == [200]


@pytest.mark.parametrize("path", [b"/nowhere", b"/v2/health/live"])
def test_an_early_refusal_closes_where_a_body_was_announced(front, path):
    """What follows is a body, and never a request."""
    smuggled = b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (path, len(WHOLE), WHOLE)
    assert [status for status, _ in parsed(exchange(front, smuggled))] in ([404], [405])


def test_an_answer_without_a_body_comes_at_once(front):
    """The head is written with what follows it, and here nothing does."""
    with socket.create_connection(("127.0.0.1", front), LONGEST) as connection:
        for start in (b"HEAD /v2/health/live", b"OPTIONS /v2/health/live"):
            connection.sendall(start + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            assert connection.recv(1 << 16).endswith(b"\r\n\r\n")


def test_a_connection_is_kept(front):
    with socket.create_connection(("127.0.0.1", front), LONGEST) as connection:
        for _ in range(3):
            connection.sendall(WHOLE)
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("limits", "pieces", "statuses"),
    [
        (SHORT_HEAD, [], []),
        (SHORT_HEAD, [b"POST /v2"], [408]),
        (SHORT_HEAD, [b"POST /v2/models/m/infer HTTP/1.1\r\nHost"], [408]),
        (SHORT_BODY, [INFER + b"Content-Length: 100\r\n\r\n{"], [408]),
        (SHORT_BODY, [INFER + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"], [408]),
        (SHORT_PAUSE, [WHOLE], [200]),
        (SHORT_HEAD, [WHOLE, b"POST /v2"], [200, 408]),
    ],
)
def test_clients_that_do_not_go_on_are_left(limits, pieces, statuses):
    with running_front(FakeUpstream(), limits) as (port, _):
        assert [status for status, _ in parsed(exchange(port, *pieces))] == statuses


@pytest.mark.parametrize(
    ("limits", "start"),
    [(SHORT_HEAD, b"GET /v2 HTTP/1.1\r\n"), (SHORT_BODY, INFER + b"Content-Length: 100000\r\n\r\n")],
)
def test_a_byte_now_and_then_is_too_slow(limits, start):
    """A head, and a body, have a time for all of them: no byte starts it anew."""
    with (
        running_front(FakeUpstream(), limits) as (port, _),
        socket.create_connection(("127.0.0.1", port), LONGEST) as connection,
    ):
        connection.sendall(start)
        connection.settimeout(0.05)
        said = b""
        for _ in range(400):
            try:
                connection.sendall(b"a")
                said += connection.recv(1 << 16)
            except TimeoutError:
                continue
            except ConnectionError:
                break
            if said:
                break
        assert [status for status, _ in parsed(said)] == [408]


def test_who_does_not_read_is_left():
    """An answer that nobody takes is not kept for ever."""
    upstream = FakeUpstream()
    large = pb.ModelInferResponse(model_name="m")
    large.outputs.add(name="y", datatype="FP32", shape=[8 << 20])
    large.raw_output_contents.append(bytes(32 << 20))
    upstream.on_infer = lambda _: large
    body = json.dumps({"inputs": [TENSOR], "parameters": {"binary_data_output": True}}).encode()
    with running_front(upstream, HttpLimits(write_seconds=0.3)) as (port, table), socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        connection.sendall(INFER + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        until(lambda: len(upstream.asked) == 1)
        until(lambda: len(table) == 0)


def test_a_crowd_of_idle_connections_keeps_no_one_out():
    limits = HttpLimits(max_connections=20)
    with running_front(FakeUpstream(), limits) as (port, table):
        crowd = [socket.create_connection(("127.0.0.1", port), LONGEST) for _ in range(60)]
        for kind in (b"", b"POST /v2", INFER + b"Content-Length: 100\r\n\r\n{"):
            for connection in crowd:
                try:
                    connection.sendall(kind)
                except ConnectionError:
                    continue
            is_alive(port)
            assert len(table) <= 20
        for connection in crowd:
            connection.close()


def test_as_many_requests_as_may_be_are_in_hand():
    """Connections with requests in hand give way to none."""
    goes_on = threading.Event()

    async def slow(request):
        while not goes_on.is_set():
            await asyncio.sleep(0.01)
        return pb.ModelInferResponse(model_name="m")

    upstream = FakeUpstream()
    upstream.on_infer = slow
    with running_front(upstream, HttpLimits(max_connections=2)) as (port, _):
        waiting = [socket.create_connection(("127.0.0.1", port), LONGEST) for _ in range(2)]
        for connection in waiting:
            connection.sendall(CLOSING)
        until(lambda: len(upstream.asked) == 2)
        ((status, said),) = parsed(exchange(port))
        assert (status, list(said)) == (503, ["error", "id"])
        goes_on.set()
        for connection in waiting:
            assert [status for status, _ in parsed(rest_of(connection))] == [200]
            connection.close()


def test_a_client_that_goes_cancels_its_call(caplog):
    async def for_ever(_):
        await asyncio.sleep(3600)

    upstream = FakeUpstream()
    upstream.on_infer = for_ever
    with running_front(upstream) as (port, table):
        with socket.create_connection(("127.0.0.1", port), LONGEST) as connection:
            connection.sendall(WHOLE)
            until(lambda: len(upstream.asked) == 1)
        until(lambda: upstream.cancelled == 1)
        assert len(table) == 0
    assert not caplog.records
