"""HTTP/1.1 over sockets: order, pieces, refusals, and clients that wait, send or read too slowly, or are too many."""

import asyncio
import contextlib
import dataclasses
import json
import socket
import threading
import time

import numpy as np
import pytest

from kit.fakes import FakeModels
from kit.gateways import LONGEST, FakeUpstream, answers_in, exchange, rest_of, running_front, walk_model
from kit.waiting import until
from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.limits import Limits

TENSOR = {"name": "input", "datatype": "FP32", "shape": [1], "data": [1]}
BODY = json.dumps({"inputs": [TENSOR]}).encode()
LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: a\r\n"
INFER = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: a\r\n"
WHOLE = INFER + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
CLOSING = INFER + b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
LAST = LIVE + b"Connection: close\r\n\r\n"


@pytest.fixture(scope="module")
def front():
    with running_front(FakeUpstream(), Limits(max_body_bytes=1 << 20)) as (port, _):
        yield port


def statuses(said):
    return [status for status, _ in answers_in(said)]


def test_malformed_request_is_refused_and_closed(front):
    for sent in (
        b"no request at all\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        LIVE + b"A: b\r\n c\r\n\r\n",
        INFER + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        INFER + b"Content-Length: -3\r\n\r\nabc",
        INFER + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        INFER + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ):
        assert statuses(exchange(front, sent))[0] == 400, sent[:100]
    for fields, status in (
        (b"Host: b\r\n", 400),
        (b"Authorization: a\r\nAuthorization: b\r\n", 400),
        (b"A: b\r\n" * 120, 431),
    ):
        assert statuses(exchange(front, LIVE + fields + b"Connection: close\r\n\r\n")) == [status]
    assert statuses(exchange(front, CLOSING)) == [200]


def test_http_2_upgrade_is_declined(front):
    """Clients of Java and curl offer it with their first request. An offer in two packets is refused with a remedy."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
    whole = INFER + offer + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
    with socket.create_connection(("127.0.0.1", front), LONGEST) as connection:
        for _ in range(2):
            connection.sendall(whole)
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")
    with socket.create_connection(("127.0.0.1", front), LONGEST) as connection:
        begin, end = whole.split(b"h2c")
        connection.sendall(begin + b"h2")
        time.sleep(0.1)
        connection.sendall(b"c" + end)
        said = connection.recv(1 << 16)
        assert said.startswith(b"HTTP/1.1 400")
        assert b"HttpClient.Version.HTTP_1_1" in said
    with socket.create_connection(("127.0.0.1", front), LONGEST) as connection:
        connection.sendall(LIVE + offer + b"\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200")


def test_requests_in_any_pieces_are_answered_in_order(front):
    chunked = INFER + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunked += b"".join(b"1;x=y\r\n%c\r\n" % byte for byte in BODY) + b"0\r\nTrailer: t\r\n\r\n"
    assert statuses(exchange(front, *(chunked[at : at + 1] for at in range(len(chunked))))) == [200]
    bodies = [json.dumps({"id": f"r{index}", "inputs": [TENSOR]}).encode() for index in range(50)]
    whole = b"".join(INFER + b"Content-Length: %d\r\n\r\n%s" % (len(body), body) for body in bodies)
    answers = answers_in(exchange(front, whole + CLOSING))
    assert [body["id"] for _, body in answers[:50]] == [f"r{index}" for index in range(50)]
    assert len(answers) == 51


def test_connection_with_too_many_pipelined_requests_is_closed(front):
    answers = answers_in(exchange(front, (LIVE + b"\r\n") * 60 + LAST))
    assert [status for status, _ in answers] == [200] * 61
    assert exchange(front, (LIVE + b"\r\n") * 3000 + LAST) == b""


def test_connection_reset_before_accept_is_not_read():
    """If the gateway read their requests, thousands of them would make other clients wait."""
    ports = []

    def reset_another(tensors):  # in the event loop, which therefore accepts nothing meanwhile
        with socket.create_connection(("127.0.0.1", *ports), LONGEST) as connection:
            connection.sendall(INFER.replace(b"/m/", b"/other/") + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        return {"y": tensors["input"]}

    upstream = FakeUpstream(FakeModels({"m": walk_model(reset_another)}))
    with running_front(upstream) as (port, _):
        ports.append(port)
        assert statuses(exchange(port, WHOLE + LAST)) == [200, 200]
        assert statuses(exchange(port, LAST)) == [200]
        time.sleep(0.1)
    assert [request.model_name for method, request, _ in upstream.asked if method == "ModelInfer"] == ["m"]


def test_request_that_outlives_the_shutdown_gets_503():
    class Hanging(FakeUpstream):
        async def infer(self, request, _):
            self.asked.append(request)
            await asyncio.sleep(10 * LONGEST)

    upstream = Hanging()
    with contextlib.ExitStack() as stack:
        port, _ = stack.enter_context(running_front(upstream))
        with socket.create_connection(("127.0.0.1", port), LONGEST) as connection:
            connection.sendall(WHOLE)
            until(lambda: upstream.asked)
            stack.close()
            said = rest_of(connection)
    assert statuses(said) == [503]
    assert b"\r\nretry-after: 1\r\n" in said
    assert b"\r\nconnection: close\r\n" in said


def test_request_refused_by_its_head_does_not_wait_for_the_body(front):
    """It sends no 100 Continue, and never takes the body for a request."""
    head = INFER + b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n"
    assert statuses(exchange(front, head)) == [413]
    for path, status in ((b"/nowhere", 404), (b"/v2/health/live", 405)):
        smuggled = b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (path, len(WHOLE), WHOLE)
        assert statuses(exchange(front, smuggled + LAST)) == [status, 200]


def test_connection_is_kept_and_continues_with_100_if_a_body_is_wanted(front):
    with socket.create_connection(("127.0.0.1", front), LONGEST) as connection:
        for start in (b"HEAD /v2/health/live", b"HEAD /v2"):  # the head comes at once, without a body
            connection.sendall(start + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            assert connection.recv(1 << 16).endswith(b"\r\n\r\n")
        connection.sendall(
            INFER + b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY)
        )
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert statuses(rest_of(connection)) == [200]


@pytest.mark.parametrize(
    ("limits", "pieces", "expected"),
    [
        ({"header_seconds": 0.7}, [], []),
        ({"header_seconds": 0.7}, [WHOLE, b"POST /v2"], [200]),
        ({"body_seconds": 0.3}, [INFER + b"Content-Length: 100\r\n\r\n{"], [408]),
        ({"body_seconds": 0.3}, [INFER + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"], [408]),
        ({"keep_alive_seconds": 1.0}, [WHOLE], [200]),
    ],
)
def test_stalled_client_is_disconnected(limits, pieces, expected):
    with (
        running_front(FakeUpstream(), Limits(**limits)) as (port, _),
        socket.create_connection(("127.0.0.1", port), LONGEST) as connection,
    ):
        for piece in pieces:
            connection.sendall(piece)
        assert statuses(connection.recv(1 << 16) if expected == [408] else rest_of(connection)) == expected


def test_head_without_an_end_is_limited_in_size():
    with (
        running_front(FakeUpstream()) as (port, _),
        socket.create_connection(("127.0.0.1", port), LONGEST) as connection,
    ):
        connection.sendall(LIVE + b"A: ")
        with pytest.raises(OSError):
            connection.sendall(b"b" * (2 << 30))


def large_answer():
    upstream = FakeUpstream()
    large = pb.ModelInferResponse(model_name="m")
    large.outputs.add(name="y", datatype="FP32", shape=[8 << 20])
    large.raw_output_contents.append(bytes(32 << 20))
    upstream.answers["ModelInfer"] = large
    body = json.dumps({"inputs": [TENSOR], "parameters": {"binary_data_output": True}}).encode()
    return upstream, INFER + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)


def test_client_that_does_not_read_is_disconnected():
    upstream, request = large_answer()
    with running_front(upstream, Limits(write_seconds=0.3)) as (port, application), socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        connection.sendall(request)
        until(lambda: application._budget.held > 0)
        until(lambda: application._budget.held == 0)
        assert len(rest_of(connection)) < 32 << 20  # closed before the end
        assert not application._running


def test_unread_answers_use_up_the_byte_budget():
    """Each answer is small as a tensor, but 720 kB of JSON. The kernel takes the first of them from the gateway."""
    answers = [np.zeros(120_000, bool)]
    upstream = FakeUpstream(FakeModels({"m": walk_model(lambda _: {"y": answers[-1]})}))
    with running_front(upstream, Limits(max_held_bytes=1 << 20)) as (port, application), socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        connection.sendall(WHOLE * 12)
        until(lambda: application._budget.held >= 720_000)
        assert statuses(exchange(port, CLOSING)) == [429]
        answers.append(np.zeros(1, bool))
        assert statuses(exchange(port, CLOSING)) == [200]
        connection.close()
        until(lambda: application._budget.held == 0)


def test_disconnected_client_leaves_no_call():
    upstream = FakeUpstream()
    with running_front(upstream) as (port, application):
        upstream.service.blocked = threading.Event()
        with socket.create_connection(("127.0.0.1", port), LONGEST) as connection:
            connection.sendall(WHOLE)
            until(lambda: len(upstream.asked) == 1)
        until(lambda: upstream.cancelled == 1)
        upstream.service.blocked.set()
        until(lambda: not application._running)
        assert application._budget.held == 0


def test_idle_connections_do_not_block_others():
    with running_front(FakeUpstream(), Limits(max_connections=20)) as (port, _):
        crowd = [socket.create_connection(("127.0.0.1", port), LONGEST) for _ in range(60)]
        for connection in crowd[:30]:
            connection.sendall(b"POST /v2")
        assert statuses(exchange(port, CLOSING)) == [200]

        def open_ones():
            count = 0
            for connection in crowd:
                connection.setblocking(False)
                try:
                    count += connection.recv(1, socket.MSG_PEEK) != b""
                except BlockingIOError:
                    count += 1
                except OSError:
                    pass
            return count

        until(lambda: open_ones() <= 20)
        for connection in crowd:
            connection.close()


def test_bodies_beyond_the_byte_budget_are_refused():
    limits = dataclasses.replace(Limits(), max_body_bytes=1 << 20, max_held_bytes=1 << 20)
    with running_front(FakeUpstream(), limits) as (port, application):
        with socket.create_connection(("127.0.0.1", port), LONGEST) as slow:
            slow.sendall(INFER + b"Content-Length: 1000000\r\n\r\n" + bytes(900_000))
            until(lambda: application._budget.held >= 900_000)
            large = INFER + b"Connection: close\r\nContent-Length: 500000\r\n\r\n" + bytes(500_000)
            assert statuses(exchange(port, large)) == [429]
            assert statuses(exchange(port, CLOSING)) == [200]
        until(lambda: application._budget.held == 0)
