"""`--max-queue` has one meaning: each model has a queue of its own and so have its sequences."""

import threading

import grpc
import numpy as np
import pytest

from kit.held_runs import hold_runs
from kit.inference_requests import request
from kit.served import served

MODELS = ["direction_simple", "direction_stacked"]
MAX_QUEUE, SENT = 8, 20
HELD_STEPS = 77
PATIENCE = 20.0


@pytest.fixture
def held(monkeypatch):
    """Models that stand still in a run of so many steps until they are told to go on."""
    monkeypatch.setattr("rnnserve.server.fast_path.dispatcher._SHORT_SECONDS", 0.0)

    def is_held(_, requests):
        return any(r.sizes.get("sequence") == HELD_STEPS for r in requests)  # not while loading

    with hold_runs(monkeypatch, is_held) as held:
        yield held


def asks(model, steps, *, of_sequence=False, starts=False):
    sent = request(model, {"input": np.zeros((1, steps, 2), np.float32)})
    if of_sequence:
        sent.parameters["sequence_id"].int64_param = 7
        sent.parameters["sequence_start"].bool_param = starts
    return sent


@pytest.mark.parametrize("of_sequence", [False, True], ids=["requests", "steps"])
def test_two_models_have_a_queue_each(repository, held, of_sequence):
    started, may_go = held
    with served(repository, max_queue=MAX_QUEUE) as server:
        infer = server.stub.ModelInfer
        first = []
        for model in MODELS:
            if of_sequence:
                infer(asks(model, 3, of_sequence=True, starts=True), timeout=PATIENCE)
            first.append(infer.future(asks(model, HELD_STEPS, of_sequence=of_sequence)))
            assert started.acquire(timeout=PATIENCE)
        calls, ended = {}, threading.Semaphore(0)
        for model in MODELS:
            sent = asks(model, HELD_STEPS, of_sequence=of_sequence)
            calls[model] = [infer.future(sent) for _ in range(SENT)]
            for call in calls[model]:
                call.add_done_callback(lambda _: ended.release())
            for _ in range(SENT - MAX_QUEUE):
                assert ended.acquire(timeout=PATIENCE), f"fewer of {model} are refused than beyond its queue"
            assert not ended.acquire(timeout=0.3), f"more of {model} are refused: it has no queue of its own"
        may_go.set()
        assert [call.code() for call in first] == [grpc.StatusCode.OK] * len(MODELS)
        for model, of_model in calls.items():
            codes = [call.code() for call in of_model]
            assert codes.count(grpc.StatusCode.OK) == MAX_QUEUE, model
            assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == SENT - MAX_QUEUE, model
            told = {call.details() for call in of_model if call.code() != grpc.StatusCode.OK}
            assert all(model in said and f"{MAX_QUEUE} requests wait already (--max-queue)" in said for said in told)
