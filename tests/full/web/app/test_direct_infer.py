"""Inference requests that are answered at once: which these are, and what is held of them."""

import asyncio
import json
from typing import Any

import grpc
import pytest

from kit.fronts import FakeUpstream
from rnnserve.protos import inference_pb2 as pb
from rnnserve.web.app.application import Application, FrontLimits
from rnnserve.web.app.request_log import RequestLog
from rnnserve.web.http1.known_heads import RequestHead
from rnnserve.web.upstream.exchange_stream import NotTaken
from rnnserve.web.upstream.statuses import error_of_status

BODY = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}).encode()


class Stream:
    """Keeps what is sent; the test answers."""

    def __init__(self):
        self.sent = []
        self.cancelled = []

    def send(self, request, context, waiter):
        self.sent.append((pb.ModelInferRequest.FromString(request), context, waiter))
        return len(self.sent)

    def cancel(self, number):
        self.cancelled.append(number)


class Reply:
    """Keeps what is answered."""

    client = ("127.0.0.1", 50000)
    certificate = ""

    def __init__(self):
        self.replies = []
        self.fallen_back = []

    def reply(self, *said):
        self.replies.append(said)

    def fall_back(self, known):
        self.fallen_back.append(known)


@pytest.fixture
def stream():
    return Stream()


@pytest.fixture
def application(stream):
    upstream: Any = FakeUpstream()
    upstream.stream_for = lambda *_: stream

    async def make():
        return Application(
            upstream,
            [],
            FrontLimits(max_body_bytes=1 << 20, max_held_bytes=len(BODY) + 1),
            requests=RequestLog(has_server_log=False),
        )

    return asyncio.run(make())


def head(path=b"/v2/models/m/infer", server=("127.0.0.1", 1), **fields):
    named = {name.replace("_", "-").encode(): value for name, value in fields.items()}
    return RequestHead(path, {b"host": b"localhost", **named}, len(BODY), server)


def begin(application, reply):
    return application.direct.begin(application.direct.plan(head()), BODY, reply)


def test_head_that_asks_for_more_takes_the_general_way(application):
    assert application.direct.plan(head()) is not None
    for asked in (
        head(b"/v2/models/m/infer?a=b"),
        head(b"/v2/models/a%20b/infer"),
        head(b"/v2/models/m/versions/1/infer/"),
        head(host=b"evil.example"),
        head(inference_header_content_length=b"x"),
        head(content_type=b"application/octet-stream"),
        head(authorization=b"\xe9"),
    ):
        assert application.direct.plan(asked) is None


def answer(waiter):
    response = pb.ModelInferResponse(model_name="m", model_version="1")
    response.outputs.add(name="y", datatype="FP32", shape=[1])
    response.raw_output_contents.append(bytes(4))
    waiter.answered(response.SerializeToString())


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (answer, 200),
        (lambda waiter: waiter.answered(b"\xff"), 500),
        (lambda waiter: waiter.failed(error_of_status(grpc.StatusCode.NOT_FOUND, "no")), 404),
        (lambda waiter: waiter.failed(RuntimeError()), 500),
        (lambda waiter: waiter.failed(NotTaken("no", is_unknown=False)), None),
        (lambda waiter: waiter.answered(bytes(1 << 20)), None),
        (lambda waiter: waiter.cancel(), None),
    ],
)
def test_however_it_ends_its_body_is_let_go(application, stream, end, status):
    """There is room for one: a second goes the general way, which refuses it, and is taken after the first's end."""
    for _ in range(2):
        reply = Reply()
        call = begin(application, reply)
        assert call is not None
        assert begin(application, Reply()) is None
        _, context, waiter = stream.sent[-1]
        assert context.metadata[1] == ("rnnserve-peer", "ipv4:127.0.0.1:50000")
        end(waiter)
        assert [said[0] for said in reply.replies] == ([] if status is None else [status])
    assert application._bodies.held == 0
    assert len(stream.sent) == 2


def test_what_is_cancelled_is_cancelled_at_the_server(application, stream):
    begin(application, Reply()).cancel()
    assert stream.cancelled == [1]
