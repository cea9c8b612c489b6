"""Clients are told that a server is going before it goes: none of their calls is cancelled."""

import threading
import time
from collections import Counter
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kit.inference_requests import request
from kit.served import new_channel, served
from kit.waiting import until
from rnnserve.protos import inference_pb2_grpc as rpc

PATIENCE = 20.0
METHOD = "/inference.GRPCInferenceService/ModelInfer"
REQUEST = request("direction_simple", {"input": np.zeros((1, 2, 2), np.float32)}, ["logits"])
PAYLOAD = REQUEST.SerializeToString()


class Clients:
    """Calls that are made whether or not earlier ones have been answered, on some connections, and how they ended."""

    def __init__(self, port: int) -> None:
        self.said: Counter[str] = Counter()
        self._port = port
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(4)]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        while not self.said["OK"]:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _call(self) -> None:
        with new_channel(self._port) as channel:
            call: Any = channel.unary_unary(METHOD)
            calls: list[Any] = []
            while not self._is_over.is_set():
                calls.append(call.future(PAYLOAD, timeout=PATIENCE))
                calls[-1].add_done_callback(lambda done: self.said.update([done.code().name]))
                time.sleep(1e-3)
            for done in calls:
                done.code()


def test_no_call_is_cancelled_when_a_server_stops_under_load(repository):
    with served(repository) as running, Clients(running.port) as clients:
        until(lambda: clients.said["OK"] > 100)
        assert running.server.stop() == []
    assert set(clients.said) <= {"OK", "UNAVAILABLE"}, clients.said


def test_calls_of_a_connection_that_has_come_of_age_have_their_grace(repository):
    ages: dict[str, Any] = {"max_connection_age": 0.2, "max_connection_age_grace": 1.0}
    with served(repository, **ages) as running, running.channel() as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        with pytest.raises(grpc.RpcError) as ended:
            list(watch)
        assert ended.value.code() == grpc.StatusCode.UNAVAILABLE
        assert rpc.GRPCInferenceServiceStub(channel).ModelInfer(REQUEST, timeout=PATIENCE).outputs
