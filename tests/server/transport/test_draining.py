"""A server that drains answers, and reports that it is not ready."""

import threading
import time
import types
from typing import Any

import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kit.inference_requests import request
from kit.served import served
from rnnserve.protos import inference_pb2 as pb
from rnnserve.protos import inference_pb2_grpc as rpc

PATIENCE = 20.0
REQUEST = request("direction_simple", {"input": np.zeros((1, 2, 2), np.float32)}, ["logits"])


def test_draining_server_answers_and_is_not_ready(repository, monkeypatch):
    may_end, asked = threading.Event(), []
    waits = types.SimpleNamespace(
        monotonic=time.monotonic, sleep=lambda seconds: (asked.append(seconds), may_end.wait(PATIENCE))
    )
    monkeypatch.setattr("rnnserve.server.app.time", waits)
    with served(repository, drain=0.5) as running, running.channel() as channel:
        server, stub = running.server, running.stub
        health: Any = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        draining = threading.Thread(target=server.drain)
        draining.start()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert not stub.ServerReady(pb.ServerReadyRequest()).ready
        assert stub.ModelReady(pb.ModelReadyRequest(name="direction_simple")).ready
        assert draining.is_alive()
        with running.channel() as later:
            assert rpc.GRPCInferenceServiceStub(later).ModelInfer(REQUEST).outputs
        may_end.set()
        draining.join(PATIENCE)
        assert asked == [pytest.approx(0.5, abs=0.25)]  # counted since it said so
        server._announce()  # as after a change of what serves
        assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.NOT_SERVING
