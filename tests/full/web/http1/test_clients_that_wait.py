"""Clients that don't go on, send too slowly, don't read, or come as a crowd, keep no one else out."""

import json
import socket

import pytest

from kit.fronts import LONGEST, FakeUpstream, answers_in, exchange, running_front
from kit.waiting import until
from rnnserve.protos import inference_pb2 as pb
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


@pytest.mark.parametrize(
    ("limits", "pieces", "statuses"),
    [
        (SHORT_HEAD, [], []),
        (SHORT_HEAD, [WHOLE, b"POST /v2"], [200, 408]),
        (SHORT_BODY, [INFER + b"Content-Length: 100\r\n\r\n{"], [408]),
        (SHORT_BODY, [INFER + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"], [408]),
        (SHORT_PAUSE, [WHOLE], [200]),
    ],
)
def test_client_that_does_not_go_on_is_left(limits, pieces, statuses):
    with running_front(FakeUpstream(), limits) as (port, _):
        assert [status for status, _ in answers_in(exchange(port, *pieces))] == statuses


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
        assert [status for status, _ in answers_in(said)] == [408]


def test_client_that_does_not_read_is_left():
    upstream = FakeUpstream()
    large = pb.ModelInferResponse(model_name="m")
    large.outputs.add(name="y", datatype="FP32", shape=[8 << 20])
    large.raw_output_contents.append(bytes(32 << 20))
    upstream.answers["ModelInfer"] = large
    body = json.dumps({"inputs": [TENSOR], "parameters": {"binary_data_output": True}}).encode()
    with running_front(upstream, HttpLimits(write_seconds=0.3)) as (port, table), socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port))
        connection.sendall(INFER + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        until(lambda: len(upstream.asked) == 1)
        until(lambda: len(table) == 0)


def test_crowd_of_idle_connections_keeps_no_one_out():
    with running_front(FakeUpstream(), HttpLimits(max_connections=20)) as (port, table):
        crowd = [socket.create_connection(("127.0.0.1", port), LONGEST) for _ in range(60)]
        for kind in (b"", b"POST /v2", INFER + b"Content-Length: 100\r\n\r\n{"):
            for connection in crowd:
                try:
                    connection.sendall(kind)
                except ConnectionError:
                    continue
            assert [status for status, _ in answers_in(exchange(port, CLOSING))] == [200]
            assert len(table) <= 20
        for connection in crowd:
            connection.close()
