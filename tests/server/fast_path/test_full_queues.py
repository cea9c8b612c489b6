"""Full queues: which call is refused."""

import threading

import grpc
import numpy as np

from kit.fast_paths import asks
from kit.inference_requests import request
from kit.served import served
from rnnserve.server.errors import QueueFull


def test_full_queue_refuses_and_answers_what_waits(repository, held, monkeypatch):
    started, may_go = held
    monkeypatch.setattr("rnnserve.server.fast_path.dispatcher._SHORT_SECONDS", 0.0)
    sent = request("direction_simple", {"input": np.zeros((1, 77, 2), np.float32)})
    with served(repository, max_queue=8) as server:
        infer = server.stub.ModelInfer
        first = infer.future(sent)
        assert started.acquire(timeout=20)
        calls = [infer.future(sent) for _ in range(20)]
        ended = threading.Semaphore(0)
        for call in calls:
            call.add_done_callback(lambda _: ended.release())
        for _ in range(12):
            assert ended.acquire(timeout=20)
        may_go.set()
        codes = [call.code() for call in calls]
        assert first.code() == grpc.StatusCode.OK
        assert codes.count(grpc.StatusCode.OK) == 8
        assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 12
        told = [call.details() for call in calls if call.code() != grpc.StatusCode.OK]
        assert all("requests wait already (--max-queue)" in said for said in told)


def test_a_full_queue_of_a_small_model_refuses_at_once(dispatcher):
    calls = [asks(sequence=1 + number % 9, peer=str(number % 9)) for number in range(310)]
    dispatcher.take(calls)
    assert [type(call.answers[0]) for call in calls[300:]] == [QueueFull] * 10
    assert not any(call.answers for call in calls[:300])
    while dispatcher.work():
        pass
    assert all(len(call.answers) == 1 and isinstance(call.answers[0], bytes) for call in calls[:300])
