"""A model whose runs take long has a thread of its own, and delays no other."""

import numpy as np
import pytest

from kit.held_runs import hold_runs
from kit.inference_requests import request
from kit.served import served
from rnnserve.protos import inference_pb2 as pb
from rnnserve.server.batching.planning import Cost

PATIENCE = 20.0
SLOW, FAST = "direction_stacked", "direction_simple"
ONE_SECOND = Cost(run=1.0, step=0.0, point=0.0, padding=0.0)


@pytest.fixture
def held(monkeypatch):
    """Runs of the slow model that come over the wire stand still until they are told to go on."""

    def is_held(model, _):
        return model.name == SLOW and model.cost == ONE_SECOND  # not while loading

    with hold_runs(monkeypatch, is_held) as held:
        yield held


def test_others_are_answered_while_it_runs(repository, held):
    started, may_go = held
    sent = {"input": np.zeros((1, 5, 2), np.float32)}
    with served(repository) as running:
        stub = running.stub
        model = running.server._repository.find(SLOW).model
        object.__setattr__(model, "cost", ONE_SECOND)
        slow = [stub.ModelInfer.future(request(SLOW, sent)) for _ in range(3)]
        assert started.acquire(timeout=PATIENCE)
        for _ in range(20):
            stub.ModelInfer(request(FAST, sent), timeout=PATIENCE)
        assert stub.ModelReady(pb.ModelReadyRequest(name=SLOW), timeout=PATIENCE).ready
        assert not any(call.done() for call in slow)
        may_go.set()
        for call in slow:
            assert call.result(PATIENCE).model_name == SLOW
