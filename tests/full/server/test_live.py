"""A repository that changes under load: no request fails, none is answered by what does not serve, and all is freed."""

import functools
import os
import signal

import pytest

from kit.served import new_channel, served
from kit.tiny import answers, publish_tiny
from kit.waiting import until
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc
from rnnserve.server import app
from rnnserve.server.repository.live import LiveRepository


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(app, "LiveRepository", functools.partial(LiveRepository, settled_seconds=0.05))
    root = tmp_path / "repository"
    publish_tiny(root, "scale", 1, 1.5)
    return root


def test_what_one_worker_is_asked_to_load_all_serve(root):
    publish_tiny(root, "other", 1, 7.0)
    with (
        served(root, "process", workers=2, model_control="explicit", options=("--load-model", "*")) as server,
        server.channel() as channel,
    ):
        stub = rpc.GRPCInferenceServiceStub(channel)
        publish_tiny(root, "scale", 2, 2.5)
        load(stub, "scale")
        assert answers(server.port) == {("2", 2.5)}
        unload(stub, "other")
        for _ in range(10):
            with new_channel(server.port) as other:
                asked = rpc.GRPCInferenceServiceStub(other)
                assert not asked.ModelReady(pb.ModelReadyRequest(name="other")).ready
                assert asked.ServerReady(pb.ServerReadyRequest()).ready
        os.kill(server.workers()[0], signal.SIGKILL)
        until(lambda: "is ready again" in server.log)
        assert answers(server.port) == {("2", 2.5)}
        with new_channel(server.port) as again:
            load(rpc.GRPCInferenceServiceStub(again), "other")
        assert answers(server.port, "other") == {("1", 7.0)}
    assert "Traceback" not in server.log


def load(stub, name):
    stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name=name), timeout=30)


def unload(stub, name):
    stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name=name), timeout=30)
