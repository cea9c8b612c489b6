"""Runs that never end: the log names them, the server is neither ready nor live, and a worker is replaced."""

from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kit.artifacts import publish_model
from kit.bad_versions import ENDLESS_FOR_LARGE, INPUTS, OUTPUTS, SAMPLE, publish_good
from kit.inference_requests import request
from kit.served import ServedProcess, new_channel, served, served_process
from kit.waiting import until
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc

PATIENCE = 60.0
"""Seconds to wait: a stuck run is noticed after some seconds, and a new worker loads all models."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("endless") / "repository"
    publish_model(root, "endless", ENDLESS_FOR_LARGE, INPUTS, OUTPUTS, [SAMPLE])
    publish_good(root)
    return root


def ask_for_ever(channel: grpc.Channel) -> Any:
    """Send values that keep the model's loop going."""
    sent = request("endless", {"input": np.full((1, 3, 2), 1e31, np.float32)})
    return rpc.GRPCInferenceServiceStub(channel).ModelInfer.future(sent, timeout=60.0)


def answers(server: ServedProcess) -> bool:
    with new_channel(server.port) as channel:
        sent = request("good", {"input": SAMPLE["input"]})
        try:
            rpc.GRPCInferenceServiceStub(channel).ModelInfer(sent, timeout=1.0)
        except grpc.RpcError:
            return False
        return True


def test_worker_with_an_endless_run_is_replaced(root):
    with served_process(root, workers=2) as server, new_channel(server.port) as channel:
        before = server.workers()
        answer = ask_for_ever(channel)
        until(lambda: "is ready again" in server.log, PATIENCE)
        assert answer.code() == grpc.StatusCode.UNAVAILABLE
        assert len(set(server.workers()) & set(before)) == 1
        assert all(answers(server) for _ in range(20))
    assert "an inference call of endless has not ended after" in server.log
    assert "hung" not in server.log


def test_single_process_with_an_endless_run_is_not_live(root):
    with served_process(root) as server, new_channel(server.port) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)

        def serves() -> bool:
            return health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING

        def is_live() -> bool:
            return server.stub.ServerLive(pb.ServerLiveRequest()).live

        assert (serves(), is_live()) == (True, True)
        answer = ask_for_ever(channel)
        until(lambda: not serves() and not is_live(), PATIENCE)
        assert not server.stub.ServerReady(pb.ServerReadyRequest()).ready
        assert "an inference call of endless has not ended after" in server.log
        assert not answer.done()
        server.kill()


def test_server_is_not_live_when_its_request_thread_has_ended(root, monkeypatch, caplog):
    """A defect, or a grpcio that works otherwise: nothing would be answered any more."""

    def fail():
        raise ZeroDivisionError("a defect")

    with served(root) as running:
        monkeypatch.setattr(running.server._transport._transport, "_hand_on", fail)
        until(lambda: not running.stub.ServerLive(pb.ServerLiveRequest()).live, PATIENCE)
        assert not running.stub.ServerReady(pb.ServerReadyRequest()).ready
    assert "the thread that receives requests has stopped: ZeroDivisionError('a defect')" in caplog.text
