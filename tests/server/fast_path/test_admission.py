"""From a call to a pending request: late calls, and large requests off the fast path's thread."""

import gzip
import math
import queue
import threading

import numpy as np
import pytest

from kit.inference_requests import arrays, request
from kit.waiting import PATIENCE
from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.clock import now
from rnnserve.server.errors import DeadlinePassed, InternalError, InvalidRequest
from rnnserve.server.fast_path.templates import HEAD_BYTES


class Call:
    """A call on the fast path: its answers, and the threads that gave them."""

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


@pytest.fixture
def large(dispatcher):
    yield dispatcher
    dispatcher.close()


def payload_of(rows=3000):
    walks = np.linspace(-1, 1, rows * 6 * 2, dtype=np.float32).reshape(rows, 6, 2)
    return request("direction_simple", {"input": walks}, ["logits"]).SerializeToString()


def test_large_request_is_answered_on_its_models_thread(large):
    call = Call(payload_of())
    large.take_large(call)
    answer, thread = call.answers.get(timeout=PATIENCE)
    assert arrays(pb.ModelInferResponse.FromString(answer))["logits"].shape == (3000, 2)
    assert thread == "scheduler direction_simple"
    assert call.is_watched
    assert len(call.payload) <= HEAD_BYTES  # the checked request has its bytes: they are in memory once


def test_invalid_large_request_does_not_affect_others(large):
    wrong, right = Call(payload_of()[:-1]), Call(payload_of(2))
    for call in (wrong, right):
        large.take_large(call)
    assert isinstance(wrong.answers.get(timeout=PATIENCE)[0], InvalidRequest)
    assert isinstance(right.answers.get(timeout=PATIENCE)[0], bytes)


def test_late_large_request_is_not_parsed(large, monkeypatch):
    monkeypatch.setattr(large._admission._service, "accept", lambda *_: pytest.fail("it is parsed"))
    call = Call(payload_of(), deadline=now() - 1)
    large.take_large(call)
    assert isinstance(call.answers.get(timeout=PATIENCE)[0], DeadlinePassed)


def test_defect_in_a_large_request_is_hidden_and_stops_no_thread(large, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(large._admission._service, "accept", lambda *_: 1 / 0)
        call = Call(payload_of(2))
        large.take_large(call)
        assert isinstance(call.answers.get(timeout=PATIENCE)[0], InternalError)
    call = Call(payload_of(2))
    large.take_large(call)
    assert isinstance(call.answers.get(timeout=PATIENCE)[0], bytes)


@pytest.mark.parametrize("is_small_on_arrival", [True, False])
def test_compressed_large_request_is_counted_at_its_decompressed_size(large, is_small_on_arrival):
    payload = payload_of()
    call = Call(gzip.compress(payload))
    if is_small_on_arrival:
        large.take([call])
    else:
        large.take_large(call)
    response, _ = call.answers.get(timeout=PATIENCE)
    assert arrays(pb.ModelInferResponse.FromString(response))["logits"].shape == (3000, 2)
    assert call.held == [len(payload)]
