"""Requests of many bytes: off the lane's thread, from parsing to the answer."""

import gzip
import math
import queue
import threading
import time
import types
from typing import cast

import numpy as np
import pytest

from kit.inference_requests import arrays, request
from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.clock import now
from rnnserve.server.errors import DeadlinePassed, InternalError, InvalidRequest, TooManyCalls
from rnnserve.server.lane.large_requests import LargeRequests
from rnnserve.server.lane.varying_fields import HEAD_BYTES
from rnnserve.server.protocol.service import Service

PATIENCE = 20.0


class Call:
    """A call on the lane: its answers, and the threads that gave them."""

    def __init__(self, payload, deadline=math.inf, connection="ipv4:127.0.0.1:1"):
        self.payload, self.deadline, self.connection = payload, deadline, connection
        self.stream = self.grant = None
        self.held = []
        self.answers = queue.Queue()
        self.is_watched = False

    def watch(self, _):
        self.is_watched = True

    def peer(self):
        return self.connection

    def hold(self, size):
        self.held.append(size)

    def answer(self, payload):
        self.answers.put((payload, threading.current_thread().name))

    def refuse(self, error):
        self.answers.put((error, threading.current_thread().name))


def asked(payload, **more):
    return Call(payload, **more)


@pytest.fixture
def large(service, schedulers):
    large = LargeRequests(service, schedulers)
    yield large
    large.close()


def payload_of(rows=3000):
    walks = np.linspace(-1, 1, rows * 6 * 2, dtype=np.float32).reshape(rows, 6, 2)
    return request("direction_simple", {"input": walks}, ["logits"]).SerializeToString()


def test_they_are_answered_from_the_thread_of_their_model(large):
    call = asked(payload_of())
    large.submit(call)
    answer, thread = call.answers.get(timeout=PATIENCE)
    assert arrays(pb.ModelInferResponse.FromString(answer))["logits"].shape == (3000, 2)
    assert thread == "scheduler direction_simple"
    assert call.is_watched
    assert len(call.payload) <= HEAD_BYTES  # the checked request has its bytes: they are in memory once


def test_what_is_wrong_with_one_is_told_and_costs_no_other(large):
    wrong, right = asked(payload_of()[:-1]), asked(payload_of(2))
    for call in (wrong, right):
        large.submit(call)
    assert isinstance(wrong.answers.get(timeout=PATIENCE)[0], InvalidRequest)
    assert isinstance(right.answers.get(timeout=PATIENCE)[0], bytes)


def test_one_whose_deadline_has_passed_is_not_parsed(large, monkeypatch):
    monkeypatch.setattr(large._service, "accept", lambda *_: pytest.fail("it is parsed"))
    call = asked(payload_of(), deadline=now() - 1)
    large.submit(call)
    assert isinstance(call.answers.get(timeout=PATIENCE)[0], DeadlinePassed)


def test_a_defect_is_hidden_and_ends_no_thread(large, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(large._service, "accept", lambda *_: 1 / 0)
        call = asked(payload_of(2))
        large.submit(call)
        assert isinstance(call.answers.get(timeout=PATIENCE)[0], InternalError)
    call = asked(payload_of(2))
    large.submit(call)
    assert isinstance(call.answers.get(timeout=PATIENCE)[0], bytes)


def test_a_compressed_one_is_counted_as_it_is_when_it_is_decompressed(large):
    payload = payload_of()
    call = asked(gzip.compress(payload))
    large.submit(call)
    response, _ = call.answers.get(timeout=PATIENCE)
    assert arrays(pb.ModelInferResponse.FromString(response))["logits"].shape == (3000, 2)
    assert call.held == [len(payload)]


def test_as_many_wait_as_may_and_connections_take_turns(large, monkeypatch):
    may_go_on, parsed = threading.Event(), []
    accept = large._service.accept

    def wait(payload, caller):
        parsed.append(payload[:1])
        may_go_on.wait(PATIENCE)
        return accept(payload, caller)

    monkeypatch.setattr(large._service, "accept", wait)
    many = [asked(b"m" * 9) for _ in range(65)]
    for call in many:
        large.submit(call)
        while not parsed:
            time.sleep(0.01)  # the first one does not wait
    with pytest.raises(TooManyCalls, match="64 calls of large requests of this connection"):
        large.submit(asked(b"m"))
    others = [asked(b"o", connection=f"ipv4:127.0.0.1:{number}") for number in range(2, 194)]
    for call in others:
        large.submit(call)
    with pytest.raises(TooManyCalls, match="256 calls of large requests are in hand"):
        large.submit(asked(b"x", connection="ipv4:127.0.0.1:999"))
    may_go_on.set()
    for call in (*many, *others):
        assert isinstance(call.answers.get(timeout=PATIENCE)[0], InvalidRequest)
    assert parsed[:3] == [b"m", b"m", b"o"]


def test_one_that_takes_for_ever_is_noticed(schedulers):
    may_go, began = threading.Event(), threading.Event()

    def accept(*_):
        began.set()
        assert may_go.wait(PATIENCE)
        raise InvalidRequest("wrong")

    large = LargeRequests(cast(Service, types.SimpleNamespace(accept=accept)), schedulers)
    call = asked(b"")
    large.submit(call)
    assert began.wait(PATIENCE)
    assert not large.is_hung()
    assert large.is_hung(0.0)
    may_go.set()
    call.answers.get(timeout=PATIENCE)
    assert large.close(PATIENCE)
    assert not large.is_hung()
