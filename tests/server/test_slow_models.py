"""A model whose runs take long has a thread of its own, and delays no other."""

import threading

import grpc
import numpy as np
import pytest

from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.server import Server, Settings
from rnnserve.server.batching.cost import Cost
from rnnserve.server.repository.model import Model
from support.inference_requests import request

PATIENCE = 20.0
SLOW, FAST = "direction_stacked", "direction_simple"
ONE_SECOND = Cost(run=1.0, step=0.0, point=0.0, padding=0.0)


@pytest.fixture
def held(monkeypatch):
    """Runs of the slow model that come over the wire stand still until they are told to go on."""
    started, may_go, run = threading.Event(), threading.Event(), Model.run

    def held_run(self, requests):
        if self.name == SLOW and self.cost == ONE_SECOND:  # not while loading
            started.set()
            assert may_go.wait(PATIENCE)
        return run(self, requests)

    monkeypatch.setattr(Model, "run", held_run)
    yield started, may_go
    may_go.set()


@pytest.mark.parametrize("transport", ["lane", "public"])
def test_others_are_answered_while_it_runs(repository, held, transport):
    started, may_go = held
    settings = Settings(repository, grpc_port=0, provider="cpu", transport=transport)
    sent = {"input": np.zeros((1, 5, 2), np.float32)}
    with Server(settings) as server, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = rpc.GRPCInferenceServiceStub(channel)
        model = server._repository.find(SLOW).model
        object.__setattr__(model, "cost", ONE_SECOND)
        slow = [stub.ModelInfer.future(request(SLOW, sent)) for _ in range(3)]
        assert started.wait(PATIENCE)
        for _ in range(20):
            stub.ModelInfer(request(FAST, sent), timeout=PATIENCE)
        assert stub.ModelReady(pb.ModelReadyRequest(name=SLOW), timeout=PATIENCE).ready
        assert not any(call.done() for call in slow)
        may_go.set()
        for call in slow:
            assert call.result(PATIENCE).model_name == SLOW
